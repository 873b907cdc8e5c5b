"""`python -m velo train TASK`: a quick try of weights on one training problem."""

import argparse
import importlib
import sys
from typing import Any

import jax

from velo.training import Fitted, fit
from velo.transformation import check_count, optimizer, resolve_weights

TASKS_MODULE = "tasks.fixed"
VALID_BATCHES = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", help="a task of a suite, such as mlp_breast_cancer, or module:name of one's own")
    parser.add_argument("--weights", default="default", help="a weights file, default or untrained")
    parser.add_argument("--num-steps", type=int, help="length of the run; by default the task's own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", metavar="PNG", help="draws the history into this file")


def run(options: argparse.Namespace) -> Fitted:
    """Trains and says how it went.

    Raises:
        ValueError: there is no such task, or an option is out of range.
    """
    family, num_steps = resolve(options.task)
    num_steps = options.num_steps if options.num_steps is not None else num_steps
    if num_steps is None:
        raise ValueError(f"{options.task} doesn't say for how many steps it is trained: give --num-steps")
    fitted = train(family, check_count("num_steps", num_steps), options.weights, options.seed)
    sys.stdout.write(f"{fitted.history}\n")
    if options.plot:
        fitted.history.plot(options.plot)
        sys.stdout.write(f"picture: {options.plot}\n")
    return fitted


def resolve(name: str) -> tuple[Any, int | None]:
    """A task family, and its number of steps where it has one.

    What comes before a colon is a module, found on the path or in the working folder; without one, a name is that of a
    bundled task. The object is a fixed task, a family, or a family's class.
    """
    module_name, _, attribute = name.rpartition(":")
    try:
        module = importlib.import_module(module_name or TASKS_MODULE)
    except ModuleNotFoundError as error:
        extra = "" if module_name else ": the bundled tasks need pip install 'velo[tasks]'"
        raise ValueError(f"{module_name or name}: {error}{extra}") from error
    bundled = getattr(module, "TASKS", {})
    found = bundled[attribute] if attribute in bundled else getattr(module, attribute, None)
    if found is None:
        known = f"; known: {', '.join(sorted(bundled))}" if bundled else ""
        raise ValueError(f"{module.__name__} has no task {attribute!r}{known}")
    found = found() if isinstance(found, type) else found
    family = getattr(found, "family", found)
    if missing := [method for method in ("draw", "init", "batch", "loss", "load") if not hasattr(family, method)]:
        raise ValueError(f"{name} is no task: it has no method {missing[0]}; see tasks.family.TaskFamily")
    return family, getattr(found, "num_steps", None)


def train(family: Any, num_steps: int, weights: Any, seed: int) -> Fitted:
    """One run of a task family, with a loss on held-out data ten times on the way."""
    data, valid_data = family.load()
    key_draw, key_init, key_train, key_valid = jax.random.split(jax.random.key(seed), 4)
    draw = family.draw(key_draw)

    def loss_fn(params, batch):
        data, key = batch
        key_batch, key_loss = jax.random.split(key)
        return family.loss(draw, params, family.batch(data, key_batch), key_loss)

    @jax.jit
    def validate(params):
        keys = jax.random.split(key_valid, VALID_BATCHES)
        return {"validation loss": jax.lax.map(lambda key: loss_fn(params, (valid_data, key)), keys).mean()}

    return fit(
        loss_fn,
        family.init(draw, key_init),
        lambda step: (data, jax.random.fold_in(key_train, step)),
        num_steps,
        tx=family.wrap_optimizer(draw, optimizer(num_steps, resolve_weights(weights))),
        evaluate=validate,
    )
