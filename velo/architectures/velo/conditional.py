"""A branch under `vmap` that is computed only if at least one lane needs it."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

from velo.shapes import Array, Bool

T = TypeVar("T")


def when(condition: Bool[Array, ""], function: Callable[[T], T], operands: T) -> T:
    """`function(operands)` if the condition holds, else `operands`.

    Under `vmap`, `jax.lax.cond` computes both branches for all lanes as soon as its condition differs by lanes, as a
    counter in a vmapped state does. Here nothing is computed if all lanes' conditions are false; if one is true, all
    lanes compute, and those that don't need the result drop it. `function` may not close over traced values.

    Has no reverse-mode derivative: wrap it in `jax.custom_jvp`.
    """

    @jax.custom_batching.custom_vmap
    def choose(condition, operands):
        return jax.lax.cond(condition, function, lambda unchanged: unchanged, operands)

    @choose.def_vmap
    def choose_for_lanes(axis_size, in_batched, condition, operands):
        is_batched, operands_batched = in_batched
        lanes = jax.tree.map(
            lambda leaf, batched: leaf if batched else jnp.broadcast_to(leaf[None], (axis_size, *jnp.shape(leaf))),
            operands,
            operands_batched,
        )
        conditions = condition if is_batched else jnp.broadcast_to(condition[None], (axis_size,))

        def for_all(both):
            conditions, lanes = both
            changed = jax.vmap(function)(lanes)
            return conditions, jax.tree.map(lambda new, old: _where(conditions, new, old), changed, lanes)

        _, result = when(jnp.any(conditions), for_all, (conditions, lanes))
        return result, jax.tree.map(lambda _: True, operands)

    return choose(condition, operands)


def _where(conditions: Bool[Array, " lanes"], new: Array, old: Array) -> Array:
    return jnp.where(conditions.reshape(-1, *[1] * (new.ndim - 1)), new, old)
