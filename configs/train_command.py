"""The command `python -m velo train TASK`: a quick trial of weights on one training problem."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import jax

from configs import import_path, references
from configs.exit_code import exit_code
from configs.references import UnresolvedError
from tasks.data.missing import MissingDataError
from tasks.family import TaskFamily
from velo.training import Fitted, fit
from velo.transformation import check_count, optimizer, resolve_weights

PROG = "python -m velo train"
VALID_BATCHES = 16


def main(arguments: Sequence[str]) -> int:
    """Runs the command with the words after `train` and returns the exit status, as in `configs.exit_code`."""
    parser = argparse.ArgumentParser(prog=PROG, description=__doc__)
    add_arguments(parser)
    options = parser.parse_args(arguments)

    def command():
        import_path.append_working_folder()
        run(options)

    return exit_code(PROG, command, (UnresolvedError, MissingDataError, ValueError, FloatingPointError))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("task", help="a task of a suite, such as mlp_breast_cancer, or module:name of one's own")
    parser.add_argument("--weights", default="default", help="a weights file, default, light or untrained")
    parser.add_argument("--num-steps", type=int, help="length of the run; by default the task's own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", metavar="PNG", help="draws the history into this file")


def run(options: argparse.Namespace) -> Fitted:
    """Trains, prints the history, and draws it if asked to.

    Raises:
        UnresolvedError: there is no such task.
        MissingDataError: its data are not on this machine.
        ValueError: an option is out of range, or the weights can't be loaded.
        FileNotFoundError: there is no such weights file.
        FloatingPointError: the loss was NaN or infinite ten times in a row.
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


def resolve(name: str) -> tuple[TaskFamily, int | None]:
    """The task family that `name` refers to, and the number of steps of a fixed task.

    Args:
        name: a bundled task, or `module:attribute` of a fixed task, a family, or a class of families.

    Raises:
        UnresolvedError: there is no such task.
    """
    found = references.task(name)
    return (found, None) if isinstance(found, TaskFamily) else (found.family, found.num_steps)


def train(family: TaskFamily, num_steps: int, weights: Any, seed: int) -> Fitted:
    """One run of a task family; the loss on held-out data is evaluated after each tenth of the run."""
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
