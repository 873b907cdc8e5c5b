"""Adam on one task over a grid of constant learning rates, to show that the task is neither trivial nor impossible."""

import functools
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tasks import inner_loop
from tasks.fixed import FixedTask

RATES = tuple(10.0 ** np.linspace(-5, 0, 15))
TAIL_SHARE = 0.05
"""The final loss is the mean loss over the last steps, this share of all."""


@functools.partial(jax.jit, static_argnums=0)
def _curves(task: FixedTask, rates, seeds, data):
    def lane(rate, seed):
        key_draw, key_init, key_train = jax.random.split(jax.random.key(seed), 3)
        tx = optax.adam(rate)
        draw = task.family.draw(key_draw)
        state = inner_loop.start(task.family, tx, draw, key_init)
        return inner_loop.train(task.family, tx, draw, state, data, key_train, num_steps=task.num_steps)[1]

    return jax.vmap(lane)(rates, seeds)


def curves(task: FixedTask, rates, seeds) -> np.ndarray:
    """Training losses [lanes, steps] of Adam; lane i has the i-th learning rate and the i-th seed."""
    rates, seeds = jnp.asarray(rates, jnp.float32), jnp.asarray(seeds, jnp.int32)
    return np.asarray(_curves(task, rates, seeds, task.family.load()[0]))


class Timed(NamedTuple):
    """One run and its processor time."""

    losses: np.ndarray  # [steps]
    seconds: float  # of processor time, compilation excluded


def time_run(task: FixedTask, rate: float) -> Timed:
    """One run of Adam on seed 0, at a constant learning rate."""
    data = task.family.load()[0]
    arguments = (jnp.asarray([rate], jnp.float32), jnp.zeros(1, jnp.int32), data)
    compiled = _curves.lower(task, *arguments).compile()
    started = time.process_time()
    losses = np.asarray(compiled(*arguments))[0]
    return Timed(losses, time.process_time() - started)


def final_losses(losses: np.ndarray) -> np.ndarray:
    """Final losses [lanes] of losses [lanes, steps]: the mean of the last steps, infinite where it isn't finite."""
    tail = losses[:, -max(1, round(TAIL_SHARE * losses.shape[1])) :].mean(1)
    return np.where(np.isfinite(tail), tail, np.inf)


class GridResult(NamedTuple):
    """The best learning rate of a task and what it reaches."""

    first_loss: float  # mean over the further seeds
    best_rate: float
    place: int  # index of the best rate in the grid
    final_losses: np.ndarray  # [rates] on the tuning seed
    seed_losses: np.ndarray  # [seeds] final losses of the best rate on further seeds


def search(task: FixedTask, rates=RATES, num_seeds: int = 3) -> GridResult:
    """The best learning rate on seed 0, and its final losses on `num_seeds` further seeds."""
    finals = final_losses(curves(task, rates, [0] * len(rates)))
    place = int(np.argmin(finals))
    again = curves(task, [rates[place]] * num_seeds, range(1, 1 + num_seeds))
    return GridResult(float(again[:, 0].mean()), float(rates[place]), place, finals, final_losses(again))
