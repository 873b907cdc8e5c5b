"""Some functions of `jax.random`, equal bit for bit and several times faster inside a training loop on a CPU.

On a CPU, JAX runs the twenty rounds of threefry as a loop over arrays in memory. Here the rounds are written out, so
that XLA fuses them with each other and with what reads the numbers. Keys are threefry keys under JAX's default
settings, `jax_threefry_partitionable` among them.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from velo.shapes import Array, Float, Int, PRNGKeyArray, UInt

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = np.uint32(0x1BD11BDA)


def split(key: PRNGKeyArray, num: int = 2) -> Array:
    """As `jax.random.split`."""
    return _key(threefry(jax.random.key_data(key), jnp.zeros(num, jnp.uint32), jnp.arange(num, dtype=jnp.uint32)))


def fold_in(key: PRNGKeyArray, data: int | Int[Array, ""]) -> PRNGKeyArray:
    """As `jax.random.fold_in`."""
    return _key(threefry(jax.random.key_data(key), jnp.zeros((), jnp.uint32), jnp.asarray(data).astype(jnp.uint32)))


def _key(words: tuple[UInt[Array, "..."], UInt[Array, "..."]]) -> Array:
    # The barrier keeps XLA from fusing the rounds of one key with those of the next: three generations, fused, take
    # jaxlib 0.11 minutes to compile.
    return jax.random.wrap_key_data(jax.lax.optimization_barrier(jnp.stack(words, axis=-1)))


def bits(key: PRNGKeyArray, shape: tuple[int, ...] = ()) -> UInt[Array, "..."]:
    """Uniform 32-bit integers, as `jax.random.bits`.

    Raises:
        ValueError: `shape` has 2^32 elements or more.
    """
    if math.prod(shape) >= 1 << 32:
        raise ValueError(f"prng.bits: shape must have less than 2^32 elements, got {shape}")
    index = jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape)
    x, y = threefry(jax.random.key_data(key), jnp.zeros(shape, jnp.uint32), index)
    return x ^ y


def uniform(
    key: PRNGKeyArray, shape: tuple[int, ...] = (), minval: float = 0.0, maxval: float = 1.0
) -> Float[Array, "..."]:
    """Uniform in [minval, maxval), as `jax.random.uniform`; with x64 it is that function."""
    if jax.dtypes.canonicalize_dtype(float) == np.float64:
        return jax.random.uniform(key, shape, minval=minval, maxval=maxval)
    one = np.float32(1.0).view(np.uint32)
    mantissa = jax.lax.bitcast_convert_type((bits(key, shape) >> np.uint32(9)) | one, jnp.float32) - 1.0
    low, high = np.float32(minval), np.float32(maxval)
    return jnp.maximum(low, mantissa * (high - low) + low)


def normal(key: PRNGKeyArray, shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
    """Standard normal, as `jax.random.normal`; with x64 it is that function."""
    if jax.dtypes.canonicalize_dtype(float) == np.float64:
        return jax.random.normal(key, shape)
    low = np.nextafter(np.float32(-1.0), np.float32(0.0))
    return np.float32(np.sqrt(2)) * jax.lax.erf_inv(uniform(key, shape, float(low), 1.0))


@jax.jit
def threefry(
    key: UInt[Array, " 2"], x: UInt[Array, "..."], y: UInt[Array, "..."]
) -> tuple[UInt[Array, "..."], UInt[Array, "..."]]:
    """Threefry-2x32: twenty rounds on the counters (x, y), element by element (Salmon et al., SC 2011)."""
    schedule = (key[0], key[1], key[0] ^ key[1] ^ PARITY)
    x, y = x + schedule[0], y + schedule[1]
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            x = x + y
            y = x ^ ((y << np.uint32(rotation)) | (y >> np.uint32(32 - rotation)))
        x = x + schedule[(group + 1) % 3]
        y = y + schedule[(group + 2) % 3] + np.uint32(group + 1)
    return x, y
