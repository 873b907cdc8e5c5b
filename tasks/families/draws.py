"""Random numbers of a draw, from few generator calls, since these take most of the compile time."""

import math

import jax.numpy as jnp
import numpy as np

from tasks import prng
from velo.shapes import Array, Float, Int, PRNGKeyArray


def integers(key: PRNGKeyArray, shape: tuple[int, ...], limit: int) -> Int[Array, "..."]:
    """Uniform in [0, limit), from one sample (`jax.random.randint` takes two) of 23 bits: limit is at most 2**23."""
    return (prng.uniform(key, shape) * limit).astype(jnp.int32)


def normals(key: PRNGKeyArray, shapes: dict[str, tuple[int, ...]]) -> dict[str, Array]:
    """Standard normal arrays of the given shapes, cut from one sample."""
    sizes = [math.prod(shape) for shape in shapes.values()]
    sample = prng.normal(key, (sum(sizes),))
    ends = np.cumsum(sizes)
    return {
        name: sample[end - size : end].reshape(shape)
        for (name, shape), size, end in zip(shapes.items(), sizes, ends, strict=True)
    }


def init_scale(uniform: Float[Array, ""]) -> Float[Array, ""]:
    """Factor on the initial kernels, log-uniform in [2^-1/2, 2^1/2]."""
    return 2.0 ** (uniform - 0.5)


def log_uniform(uniform: Float[Array, ""], low: float, high: float) -> Float[Array, ""]:
    """Maps a uniform number in [0, 1] to a log-uniform one in [low, high]."""
    return low * (high / low) ** uniform


def permutation(uniform: Float[Array, " n"]) -> Int[Array, " n"]:
    """A random permutation: the order of n uniform numbers."""
    return jnp.argsort(uniform).astype(jnp.int32)


def zipf(uniform: Float[Array, "..."], num_tokens: int) -> Int[Array, "..."]:
    """Tokens in [0, num_tokens) with probabilities about proportional to 1 / (token + 1), from uniform numbers."""
    return jnp.minimum((num_tokens + 1.0) ** uniform - 1.0, num_tokens - 1.0).astype(jnp.int32)
