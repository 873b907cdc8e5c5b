"""Averaging several gradients and losses into one update."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from velo.learned_optimizer import check_update_arguments
from velo.shapes import Float, Int


class AveragingState(NamedTuple):
    """Averages of the gradients and losses since the last update."""

    count: Int[jax.Array, ""]  # gradients in the averages
    mean_grads: Any  # float32
    mean_loss: Float[jax.Array, ""]
    inner: Any


def average_updates(tx: optax.GradientTransformationExtraArgs, every: int) -> optax.GradientTransformationExtraArgs:
    """`tx` on averages of `every` gradients and losses; the updates in between are zero.

    Unlike `optax.MultiSteps` it averages the losses too, which learned optimizers read. With `every` 1 it returns `tx`.
    """
    if every == 1:
        return tx

    def init(params):
        zeros = jax.tree.map(lambda leaf: jnp.zeros_like(leaf, jnp.float32), params)  # sharded as the parameters are
        return AveragingState(jnp.zeros((), jnp.int32), zeros, jnp.zeros((), jnp.float32), tx.init(params))

    def update(updates, state, params=None, *, value=None, **extra_args):
        check_update_arguments(params, value)
        count = state.count + 1
        weight = 1.0 / count.astype(jnp.float32)

        def mean(old, new):
            return old + weight * (jnp.asarray(new, jnp.float32) - old)

        mean_grads = jax.tree.map(mean, state.mean_grads, updates)
        mean_loss = mean(state.mean_loss, value)

        def step(_):
            steps, inner = tx.update(mean_grads, state.inner, params, value=mean_loss, **extra_args)
            zeros = jax.tree.map(jnp.zeros_like, mean_grads)
            return steps, AveragingState(jnp.zeros_like(count), zeros, jnp.zeros_like(mean_loss), inner)

        def wait(_):
            return jax.tree.map(jnp.zeros_like, params), AveragingState(count, mean_grads, mean_loss, state.inner)

        return jax.lax.cond(count == every, step, wait, None)

    return optax.GradientTransformationExtraArgs(init, update)
