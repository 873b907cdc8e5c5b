"""AdaBound and AMSBound (1902.09843): Adam with bounds on each parameter's step size that close in on that of SGD."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class BoundedState(NamedTuple):
    """Adam's moving averages, not debiased, and the number of steps taken."""

    mean: Any
    square: Any
    max_square: Any  # greatest `square` so far; AdaBound doesn't use it
    count: jax.Array


def adabound(
    learning_rate: Any, *, peak_rate, b1=0.9, b2=0.999, final_rate=0.1, gamma=1e-3, eps=1e-8, amsbound: bool = False
) -> optax.GradientTransformation:
    """Algorithm 2 with the bounds of the authors' code. At step t from 1:

        alpha_t = alpha sqrt(1 - b2^t) / (1 - b1^t)
        low_t = final (1 - 1 / (gamma t + 1)),  high_t = final (1 + 1 / (gamma t))
        update = -clip(alpha_t / (sqrt(v_t) + eps), low_t, high_t) m_t

    m_t and v_t are Adam's moving averages, not debiased. AMSBound takes the greatest v so far. A schedule scales the
    bounds along with alpha: final = final_rate alpha / peak_rate.

    Args:
        learning_rate: alpha: a number, or a function of the number of steps taken.
        peak_rate: the learning rate without its schedule.
        final_rate: where both bounds meet, without the schedule.
        gamma: how fast they get there.
        amsbound: AMSBound in place of AdaBound.
    """

    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return BoundedState(zeros, zeros, zeros, jnp.zeros((), jnp.int32))

    def update(updates, state, params=None):
        del params
        count = state.count + 1
        rate: Any = learning_rate(state.count) if callable(learning_rate) else learning_rate
        final = final_rate * rate / peak_rate
        mean = jax.tree.map(lambda m, g: b1 * m + (1.0 - b1) * g, state.mean, updates)
        square = jax.tree.map(lambda v, g: b2 * v + (1.0 - b2) * jnp.square(g), state.square, updates)
        max_square = jax.tree.map(jnp.maximum, state.max_square, square)
        alpha = rate * jnp.sqrt(1.0 - b2**count) / (1.0 - b1**count)
        low, high = final * (1.0 - 1.0 / (gamma * count + 1.0)), final * (1.0 + 1.0 / (gamma * count))
        new_updates = jax.tree.map(
            lambda m, v: -jnp.clip(alpha / (jnp.sqrt(v) + eps), low, high) * m,
            mean,
            max_square if amsbound else square,
        )
        return new_updates, BoundedState(mean, square, max_square, count)

    return optax.GradientTransformation(init, update)
