"""Prodigy's estimate of the distance to the solution, which takes the place of a learning rate (2306.06101)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from velo.shapes import Bool, Float

LIMIT = 4.0
"""Greatest ratio of the estimate to the mean of the tensors' own. Ordinary runs stay below 3."""


class Distance(NamedTuple):
    """One estimate over all tensors, and one for each tensor, which only the hypernetwork reads."""

    estimate: Float[jax.Array, ""]  # d_k, never falls
    per_tensor: Float[jax.Array, " tensors"]
    numerator: Float[jax.Array, " tensors"]  # r_k of algorithm 4, up to a constant factor


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
    sizes: Float[np.ndarray, " tensors"],
    is_held: Bool[jax.Array, ""],
) -> Distance:
    """d_{k+1} = max(d_k, r_{k+1} / |s_{k+1}|_1), globally and per tensor; the global ratio is limited.

    The global ratio weights tensors by the size of their gradients. One small tensor with huge gradients would set it
    alone, too large for all others, and its own large steps would raise it further. So the ratio is limited to `LIMIT`
    times the mean of the tensors' estimates over all parameters. Deviation: Prodigy has no limit.

    Args:
        rate: gamma_k d_k, the nominal step of this update.
        decay: beta_3, of the numerator and of the gradient sum.
        inner_products: <g_k, x_0 - x_k> of each tensor.
        sums: |s_{k+1}|_1 of each tensor, the absolute sum of the weighted gradient sum after this update.
        sizes: number of parameters of each tensor.
        is_held: whether estimates and numerators stay as they are, which they do while the loss rises. Parameters that
            diverge have large inner products, so the steps would grow with the loss.
    """
    numerator = decay * distance.numerator + distance.estimate * rate * inner_products
    tiny = 1e-30
    per_tensor = jnp.maximum(distance.per_tensor, numerator / (sums + tiny))
    ratio = jnp.sum(numerator) / (jnp.sum(sums) + tiny)
    limit = LIMIT * jnp.sum(sizes / sizes.sum() * per_tensor)
    grown = Distance(jnp.maximum(distance.estimate, jnp.minimum(ratio, limit)), per_tensor, numerator)
    return jax.tree.map(lambda old, new: jnp.where(is_held, old, new), distance, grown)
