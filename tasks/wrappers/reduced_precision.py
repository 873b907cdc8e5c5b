"""Parameters, inputs and gradients of few significant bits, as in half-precision training."""

import dataclasses

import jax
import jax.numpy as jnp

from tasks import prng
from tasks.wrappers.wrapper import Wrapper, with_gradient
from velo.shapes import Array, Float


def round_mantissa(x: Float[Array, "..."], num_bits: Float[Array, ""]) -> Float[Array, "..."]:
    """x rounded to `num_bits` significant bits after the first (bfloat16 has 7, float16 has 10)."""
    mantissa, exponent = jnp.frexp(x)
    scale = 2.0 ** (num_bits + 1.0)
    return jnp.ldexp(jnp.round(mantissa * scale) / scale, exponent)


@dataclasses.dataclass(frozen=True)
class ReducedPrecision(Wrapper):
    """Rounds to a number of bits that is uniform in [`min_bits`, `max_bits`], drawn once per task.

    Deviation: VeLO converts the dtypes. Rounding float32 makes the precision part of the draw, so that lanes of one
    program can differ in it. Dtypes would save no time on a CPU, which has no fast half precision.
    """

    min_bits: int = 4
    max_bits: int = 10

    def __post_init__(self):
        if not 1 <= self.min_bits <= self.max_bits <= 22:
            raise ValueError(
                f"ReducedPrecision: need 1 <= min_bits <= max_bits <= 22, got {self.min_bits} and {self.max_bits}"
            )

    def draw_strength(self, key):
        """The number of bits, as a float."""
        return jnp.floor(self.min_bits + (self.max_bits - self.min_bits + 1) * prng.uniform(key))

    def loss(self, draw, params, batch, key):
        def rounded(array):
            is_real = jnp.issubdtype(array.dtype, jnp.floating)
            return round_mantissa(array, draw.strength) if is_real else array

        weights, batch = jax.tree.map(rounded, (jax.lax.stop_gradient(params), batch))
        loss, grads = jax.value_and_grad(self.family.loss, argnums=1)(draw.inner, weights, batch, key)
        return with_gradient(loss, params, jax.tree.map(rounded, grads))
