"""Validation of a theta during a run: short training runs on fixed tasks that the mixture doesn't contain."""

import functools

import jax
import jax.numpy as jnp

from meta_train.settings import MetaTraining
from tasks import inner_loop
from tasks.fixed import FixedTask
from velo.learned_optimizer import LearnedOptimizer, Theta

SEED = 2**30
"""First seed; evaluation uses others, which count from 0."""


def task_names(settings: MetaTraining) -> list[str]:
    """Names of the tasks that a run is validated on."""
    return [task.name for task in settings.validation.suite.tasks]


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _losses(task: FixedTask, optimizer: LearnedOptimizer, num_steps: int, num_batches: int, theta, seeds, data):
    train, valid = data

    def lane(seed):
        key_draw, key_init, key_train, key_valid = jax.random.split(jax.random.key(seed), 4)
        draw = task.family.draw(key_draw)
        tx = optimizer.bind(theta, num_steps)
        state = inner_loop.start(task.family, tx, draw, key_init)
        state, _ = inner_loop.train(task.family, tx, draw, state, train, key_train, num_steps=num_steps)
        loss = inner_loop.mean_loss(task.family, draw, state.params, valid, key_valid, num_batches=num_batches)
        return task.family.normalize(loss)

    return jax.vmap(lane)(seeds)


def validate(settings: MetaTraining, theta: Theta, name: str) -> float:
    """Mean over the seeds of the normalised final validation loss on one fixed task, with the same seeds each time."""
    validation = settings.validation
    task = validation.task(name)
    num_steps = max(1, round(task.num_steps * validation.steps_scale))
    seeds = SEED + jnp.arange(validation.num_seeds)
    losses = _losses(
        task, settings.optimizer, num_steps, validation.num_batches, theta, seeds, task.family.load()
    )  # fmt: skip
    return float(jnp.mean(losses))


def attempt(settings: MetaTraining, theta: Theta, name: str) -> float | str:
    """`validate`, or the error's message if the task raises, for example because its data are missing here."""
    try:
        return validate(settings, theta, name)
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
