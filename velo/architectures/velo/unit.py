"""The unit of a run's gradients: a power of two that scales up tiny ones, so that the scale of a loss has no effect.

Squares of small gradients underflow in float32, and the epsilons that are added to roots dominate them: a loss times
1e-8 would not be trained. Large gradients need no unit; entries beyond `passes.MAX_GRADIENT` are zeroed.
"""

import jax
import jax.numpy as jnp

from velo.shapes import Float

GRANULARITY = 32
"""Exponents are multiples of it: where the root mean square of the first gradient is at least 2^-16, the unit is 1."""
MAX_EXPONENT = 64


def measure(unit: Float[jax.Array, ""], mean_square: Float[jax.Array, ""]) -> Float[jax.Array, ""]:
    """`unit`, or that of a gradient with this mean square if `unit` is zero, as it is before the first gradient.

    A mean square that is zero or not finite leaves the unit at zero, which counts as one.
    """
    is_first = (unit == 0) & (mean_square > 0) & jnp.isfinite(mean_square)
    logarithm = 0.5 * jnp.log2(jnp.where(is_first, mean_square, 1.0))
    exponent = jnp.clip(GRANULARITY * jnp.round(-logarithm / GRANULARITY), 0, MAX_EXPONENT)
    return jnp.where(is_first, jnp.ldexp(jnp.float32(1.0), exponent.astype(jnp.int32)), unit)
