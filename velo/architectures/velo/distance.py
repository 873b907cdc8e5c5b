"""Prodigy's estimate of the distance to the solution, which takes the place of a learning rate (2306.06101)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from velo.shapes import Float


class Distance(NamedTuple):
    """One estimate over all tensors, and one for each tensor, which only the hypernetwork reads."""

    estimate: Float[jax.Array, ""]  # d_k, never falls
    per_tensor: Float[jax.Array, " tensors"]
    numerator: Float[jax.Array, " tensors"]  # r_k of algorithm 4, tensor by tensor


def init_distance(num_tensors: int, initial: float) -> Distance:
    """The estimates before the first step; `initial` should be below the true distance, since they only grow."""
    return Distance(
        jnp.asarray(initial, jnp.float32),
        jnp.full(num_tensors, initial, jnp.float32),
        jnp.zeros(num_tensors, jnp.float32),
    )


def update_distance(
    distance: Distance,
    rate: Float[jax.Array, ""],
    decay: float,
    inner_products: Float[jax.Array, " tensors"],
    sums: Float[jax.Array, " tensors"],
) -> Distance:
    """d_{k+1} = max(d_k, r_{k+1} / |s_{k+1}|_1), globally and per tensor.

    Args:
        rate: gamma_k d_k, the nominal step of this update.
        decay: beta_3, of the numerator and of the gradient sum.
        inner_products: <g_k, x_0 - x_k> of each tensor.
        sums: |s_{k+1}|_1 of each tensor, the absolute sum of the weighted gradient sum after this update.
    """
    numerator = decay * distance.numerator + distance.estimate * rate * inner_products
    tiny = 1e-30
    return Distance(
        jnp.maximum(distance.estimate, jnp.sum(numerator) / (jnp.sum(sums) + tiny)),
        jnp.maximum(distance.per_tensor, numerator / (sums + tiny)),
        numerator,
    )
