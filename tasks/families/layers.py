"""Layers that the families share: plain functions on dictionaries of arrays."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from velo.shapes import Array, Float, PRNGKeyArray

ACTIVATIONS = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "sigmoid": jax.nn.sigmoid,
    "leaky_relu": jax.nn.leaky_relu,
}
INITIALIZERS = {
    "lecun_normal": lambda fan_in, fan_out: fan_in**-0.5,
    "he_normal": lambda fan_in, fan_out: (2.0 / fan_in) ** 0.5,
    "glorot_normal": lambda fan_in, fan_out: (2.0 / (fan_in + fan_out)) ** 0.5,
    "small_normal": lambda fan_in, fan_out: 0.05,
}
"""Standard deviation of a kernel's entries from its numbers of inputs and outputs."""


def check_choice(family: str, field: str, value: str, known) -> None:
    if value not in known:
        raise ValueError(f"{family}: {field} must be one of {', '.join(sorted(known))}, got {value!r}")


def check_positive(family: Any, *fields: str) -> None:
    """Raises a ValueError that names the field unless each is a positive integer (or a tuple of them)."""
    for field in fields:
        value = getattr(family, field)
        if any(size < 1 for size in (value if isinstance(value, tuple) else (value,))):
            raise ValueError(f"{type(family).__name__}: {field} must be at least 1, got {value}")


def init_layers(
    key: PRNGKeyArray, shapes: dict[str, tuple[int, ...]], initializer: str, scale: Float[Array, ""] | float = 1.0
) -> dict[str, dict[str, Array]]:
    """Kernels of the given shapes (..., inputs, outputs) times `scale`, with zero biases.

    All are cut from one normal sample: random generators are most of what a compiler has to chew on.
    """
    sizes = [math.prod(shape) for shape in shapes.values()]
    sample = jax.random.normal(key, (sum(sizes),))
    params = {}
    for (name, shape), end in zip(shapes.items(), np.cumsum(sizes), strict=True):
        fan_in = math.prod(shape[:-1])
        fan_out = math.prod(shape[:-2]) * shape[-1]
        deviation = INITIALIZERS[initializer](fan_in, fan_out)
        kernel = sample[end - math.prod(shape) : end].reshape(shape) * (deviation * scale)
        params[name] = {"w": kernel, "b": jnp.zeros(shape[-1])}
    return params


def stack(name: str, sizes: Sequence[int], kernel: tuple[int, ...] = ()) -> dict[str, tuple[int, ...]]:
    """Shapes of the layers name_0, name_1, ... that lead from one of `sizes` to the next."""
    return {f"{name}_{index}": (*kernel, *pair) for index, pair in enumerate(itertools.pairwise(sizes))}


def dense(layer: dict[str, Array], x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
    bias = layer["b"].reshape((1,) * (x.ndim - 1) + (-1,))
    return x @ layer["w"] + bias


def conv(
    layer: dict[str, Array], x: Float[Array, "batch height width inputs"], stride: int = 1
) -> Float[Array, "batch out_height out_width outputs"]:
    """Convolution with zero padding that keeps the size (up to the stride).

    As shifted slices and one matrix product: on a CPU, XLA runs its own convolution 10-17 times slower inside a scan,
    and a vmapped one as a slow grouped convolution.
    """
    size, _, num_inputs, num_outputs = layer["w"].shape
    height, width = x.shape[1:3]
    before, after = (size - 1) // 2, size // 2
    padded = jnp.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))
    patches = jnp.concatenate(
        [padded[:, i : i + height : stride, j : j + width : stride] for i, j in np.ndindex(size, size)], axis=-1
    )
    return dense({"w": layer["w"].reshape(size * size * num_inputs, num_outputs), "b": layer["b"]}, patches)


def init_norm(size: int) -> dict[str, Array]:
    return {"scale": jnp.ones(size), "offset": jnp.zeros(size)}


def layer_norm(layer: dict[str, Array], x: Float[Array, "*batch size"]) -> Float[Array, "*batch size"]:
    centered = x - jnp.mean(x, axis=-1, keepdims=True)
    normalized = centered * jax.lax.rsqrt(jnp.mean(jnp.square(centered), axis=-1, keepdims=True) + 1e-5)
    shape = (1,) * (x.ndim - 1) + (-1,)
    return normalized * layer["scale"].reshape(shape) + layer["offset"].reshape(shape)


def cross_entropy(logits: Float[Array, "*batch classes"], labels: Array) -> Float[Array, ""]:
    log_probabilities = jax.nn.log_softmax(logits)
    return -jnp.mean(jnp.take_along_axis(log_probabilities, labels[..., None], axis=-1))
