"""ScheduleFree+ (2605.19095): schedule-free Adam with momentum inside, annealed interpolation and Polyak's rate."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class ScheduleFreePlusState(NamedTuple):
    """State; x, z and y are named as in the paper."""

    x: Any  # the average: the point that the optimizer returns
    z: Any  # the iterates that it averages; params are y, between x and z
    mean: Any
    square: Any
    norm: jax.Array  # moving average of the gradient's norm
    max_rate: jax.Array
    weight_sum: jax.Array
    count: jax.Array


def schedule_free_plus(
    learning_rate: Any = 1.0,
    *,
    b1=0.9,
    b2=0.95,
    interpolation=0.9,
    final_interpolation=0.965,
    anneal_steps: int = 0,
    average_from: int = 0,
    average_power=0.0,
    polyak_beta=0.0,
    weight_decay=0.0,
    eps=1e-8,
) -> optax.GradientTransformationExtraArgs:
    """`AdamCScheduleFreePlusPaper` of the author's code. At step k from 0, with the gradient g and the loss f at y:

        beta = 1 - (1 - interpolation)^(1 - s) (1 - final_interpolation)^s with s = min(k / anneal_steps, 1)
        e <- p e + (1 - p) sqrt(pi / 2) |g|_1,  e' = e / (1 - p^(k + 1))
        rate = learning_rate max(0, f + beta <g, z - x>) / e'
        z <- z - rate^2 weight_decay y - rate m' / (sqrt v' + eps)      with Adam's m' and v'
        x <- (1 - c) x + c z,  y <- beta x + (1 - beta) z

    c = w / sum w with w = (k + 1)^average_power (greatest rate so far)^2. In the first `average_from` steps c is 1, and
    the sum leaves them out.

    Polyak's rate takes 0 for the lowest loss. f + beta <g, z - x> is the loss at z, extrapolated from y by the slope
    there: for a constant beta, z - y = beta (z - x). sqrt(pi / 2) |g|_1 is sqrt(n) |g|_2 for a Gaussian g of n entries.

    `update` needs `params`, and the loss of the step's batch: `tx.update(grads, state, params, value=loss)`.

    Unconfirmed: the update is that of the author's published code and of a published summary of the paper, which agree.
    It was not compared with the paper's text. So the settings of the paper's experiments are unknown here, above all
    `anneal_steps`, `average_from`, `average_power` and `polyak_beta`. The defaults are the code's.

    Deviation: the rate is 0 where the gradient's norm is 0; the code divides by it.

    Args:
        learning_rate: factor on Polyak's rate, at least `eps`: a number, or a function of the number of steps taken (a
            warm-up).
        anneal_steps: steps from `interpolation` to `final_interpolation`; 0 keeps `interpolation`.
        polyak_beta: p, the decay of the norm's moving average.
        weight_decay: of AdamC (2506.02285), scaled by the squared rate: 20 to 50 where AdamW would have 0.1.

    Raises:
        ValueError: from `update`, without the loss.
    """

    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        zero = jnp.zeros(())
        return ScheduleFreePlusState(
            params, params, zeros, zeros, zero, jnp.full((), eps), zero, jnp.zeros((), jnp.int32)
        )

    def update(updates, state, params: Any = None, *, value: Any = None, **extra_args):
        del extra_args
        if value is None:
            raise ValueError("schedule_free_plus needs the loss: tx.update(grads, state, params, value=loss)")
        count = state.count + 1
        share = jnp.minimum(state.count / anneal_steps, 1.0) if anneal_steps else 0.0
        beta = 1.0 - (1.0 - interpolation) ** (1.0 - share) * (1.0 - final_interpolation) ** share
        norm = polyak_beta * state.norm + (1.0 - polyak_beta) * math.sqrt(math.pi / 2.0) * _sum(jnp.abs, updates)
        debiased = norm / (1.0 - polyak_beta**count)
        value_at_z = value + beta * _sum(lambda g, z, x: g * (z - x), updates, state.z, state.x)
        factor: Any = learning_rate(state.count) if callable(learning_rate) else learning_rate
        polyak = jnp.maximum(value_at_z, 0.0) / jnp.where(debiased > 0.0, debiased, 1.0)
        rate = jnp.maximum(factor, eps) * jnp.where(debiased > 0.0, polyak, 0.0)

        mean = jax.tree.map(lambda m, g: b1 * m + (1.0 - b1) * g, state.mean, updates)
        square = jax.tree.map(lambda v, g: b2 * v + (1.0 - b2) * jnp.square(g), state.square, updates)
        debias1, debias2 = 1.0 - b1**count, 1.0 - b2**count

        def move(z, y, m, v):
            step = m / debias1 / (jnp.sqrt(v / debias2) + eps)
            return (z - jnp.square(rate) * weight_decay * y - rate * step).astype(z.dtype)

        z = jax.tree.map(move, state.z, params, mean, square)
        max_rate = jnp.maximum(rate, state.max_rate)
        averages = state.count >= average_from
        weight = jnp.where(averages, count.astype(jnp.float32) ** average_power * jnp.square(max_rate), 0.0)
        weight_sum = state.weight_sum + weight
        c = jnp.where(averages, weight / jnp.where(averages, weight_sum, 1.0), 1.0)
        x = jax.tree.map(lambda x, z: ((1.0 - c) * x + c * z).astype(x.dtype), state.x, z)
        steps = jax.tree.map(lambda x, z, y: (beta * x + (1.0 - beta) * z - y).astype(y.dtype), x, z, params)
        return steps, ScheduleFreePlusState(x, z, mean, square, norm, max_rate, weight_sum, count)

    return optax.GradientTransformationExtraArgs(init, update)


def _sum(function: Any, *trees: Any) -> jax.Array:
    """Sum of `function` of the leaves over all entries of all leaves, in float32."""
    terms = jax.tree.map(lambda *leaves: jnp.sum(function(*leaves), dtype=jnp.float32), *trees)
    return sum(jax.tree.leaves(terms), jnp.zeros(()))
