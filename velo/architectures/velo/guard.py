"""Gradient clipping against bad batches: a gradient with a norm far above the recent ones is scaled down to a limit.

Without it, a single gradient of a thousand times the usual norm dominates the second moment for hundreds of steps
(in the eigenbasis) or thousands (elementwise). It also disturbs the parameters and the distance estimate. AutoClip
(2007.14469) clips at a percentile of all norms so far; an average of recent norms adapts when norms rise or fall during
training.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from velo.shapes import Float

LIMIT = 5.0
"""Largest norm of a gradient, as a multiple of the root mean square of recent norms."""
DECAY = 0.95
TINY = 1e-30


class Usual(NamedTuple):
    """Exponential average of squared gradient norms, each taken after clipping."""

    mean: Float[jax.Array, ""]
    weight: Float[jax.Array, ""]  # the same average of the constant 1: exact bias correction


def init_usual() -> Usual:
    """The average before the first gradient."""
    return Usual(jnp.zeros(()), jnp.zeros(()))


def squared_norms(grads: Sequence[jax.Array]) -> Float[jax.Array, " tensors"]:
    """Sum of the squares of each tensor's entries."""
    return jnp.stack([jnp.vdot(grad, grad) for grad in grads])


def shorten(usual: Usual, square: Float[jax.Array, ""]) -> tuple[Float[jax.Array, ""], Usual]:
    """(factor on a gradient with this squared norm, in (0, 1]; the average after it).

    The factor is 1 for the first gradient, and for one whose norm is zero, overflows or is NaN: `passes.clean` zeroes
    non-finite and huge entries.
    """
    counts = jnp.isfinite(square) & (square > 0)
    limit = LIMIT**2 * usual.mean / jnp.maximum(usual.weight, TINY)
    is_long = counts & (square > limit) & (limit > 0)
    factor = jnp.where(is_long, jnp.sqrt(limit / jnp.where(is_long, square, 1.0)), 1.0)
    mean = DECAY * usual.mean + (1.0 - DECAY) * jnp.where(is_long, limit, square)
    weight = DECAY * usual.weight + (1.0 - DECAY)
    return factor, Usual(jnp.where(counts, mean, usual.mean), jnp.where(counts, weight, usual.weight))
