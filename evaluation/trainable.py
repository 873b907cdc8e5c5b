"""Checks that an optimizer works with the training loop, before hours of training and without running anything."""

import jax
import jax.numpy as jnp

from evaluation import baselines
from evaluation.baselines import Baseline
from evaluation.settings import Contender
from evaluation.training import Program, evaluation_params
from tasks import inner_loop
from tasks.fixed import FixedTask
from velo.architectures import ARCHITECTURES

GIVEN = "update(grads, state, params, value=loss, obj_fn=function of params)"
MAX_REASON = 300


class UntrainableError(ValueError):
    """The training loop can't run an optimizer. The message is one line; the original error is its cause."""


def check(task: FixedTask, contender: Contender) -> None:
    """Traces two steps of a user's own optimizer; those that come with the package are known to work.

    Raises:
        UntrainableError: the optimizer raises, for example because `update` requires an argument that the loop doesn't
            pass.
    """
    if _is_bundled(contender):
        return
    program = Program(task.family, contender.optimizer, task.num_steps, records_step_sizes=contender.is_learned)

    def steps(theta, data, key):
        tx = program.bind(theta, {})
        draw = task.family.draw(key)
        state = inner_loop.start(task.family, tx, draw, key)
        params = evaluation_params(contender.optimizer)
        return inner_loop.train(task.family, tx, draw, state, data, key, num_steps=2, evaluation_params=params)

    train, _ = task.family.load()
    try:
        jax.eval_shape(steps, jax.tree.map(jnp.asarray, contender.theta), train, jax.random.key(0))
    except Exception as error:
        # Catch everything: whatever a user's code raises, this optimizer can't be evaluated.
        reason = " ".join(str(error).split())[:MAX_REASON]
        raise UntrainableError(
            f"optimizer {contender.name!r} can't be trained on {task.name}: {type(error).__name__}: {reason} "
            f"(the loop calls {GIVEN})"
        ) from error


def _is_bundled(contender: Contender) -> bool:
    optimizer = contender.optimizer
    if isinstance(optimizer, Baseline):
        return optimizer.name in baselines.names() and baselines.get(optimizer.name) == optimizer
    return type(optimizer) in ARCHITECTURES.values()
