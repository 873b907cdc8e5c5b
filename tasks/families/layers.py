"""Layers that the families share: plain functions on dictionaries of arrays."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tasks.families import draws
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
    key: PRNGKeyArray,
    shapes: dict[str, tuple[int, ...]],
    initializer: str,
    scale: Float[Array, ""] | float = 1.0,
    tables: dict[str, tuple[int, ...]] | None = None,
    table_deviation: float = 1.0,
) -> dict[str, Any]:
    """Kernels of the given shapes (..., inputs, outputs) times `scale`, with zero biases, and plain normal `tables`.

    All are cut from one normal sample.
    """
    tables = tables or {}
    arrays = draws.normals(key, shapes | tables)
    params = {}
    for name, shape in shapes.items():
        fan_in = math.prod(shape[:-1])
        fan_out = math.prod(shape[:-2]) * shape[-1]
        deviation = INITIALIZERS[initializer](fan_in, fan_out)
        params[name] = {"w": arrays[name] * (deviation * scale), "b": jnp.zeros(shape[-1])}
    return params | {name: table_deviation * arrays[name] for name in tables}


def stack(name: str, sizes: Sequence[int], kernel: tuple[int, ...] = ()) -> dict[str, tuple[int, ...]]:
    """Shapes of the layers name_0, name_1, ... that lead from one of `sizes` to the next."""
    return {f"{name}_{index}": (*kernel, *pair) for index, pair in enumerate(itertools.pairwise(sizes))}


def dense(layer: dict[str, Array], x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
    bias = layer["b"].reshape((1,) * (x.ndim - 1) + (-1,))
    return x @ layer["w"] + bias


def conv(
    layer: dict[str, Array], x: Float[Array, "batch height width inputs"], stride: int = 1
) -> Float[Array, "batch out_height out_width outputs"]:
    """Convolution with zero padding that keeps the size (up to the stride), in the form that suits the backend."""
    return conv_by_slices(layer, x, stride) if jax.default_backend() == "cpu" else conv_by_xla(layer, x, stride)


def conv_by_slices(layer: dict[str, Array], x: Float[Array, "batch height width inputs"], stride: int) -> Array:
    """As shifted slices and one matrix product.

    On a CPU, XLA runs its own convolution 10-17 times slower inside a scan, and a vmapped one as a slow grouped one.
    """
    size, _, num_inputs, num_outputs = layer["w"].shape
    height, width = x.shape[1:3]
    before, after = (size - 1) // 2, size // 2
    padded = jnp.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))
    patches = jnp.concatenate(
        [padded[:, i : i + height : stride, j : j + width : stride] for i, j in np.ndindex(size, size)], axis=-1
    )
    return dense({"w": layer["w"].reshape(size * size * num_inputs, num_outputs), "b": layer["b"]}, patches)


def conv_by_xla(layer: dict[str, Array], x: Float[Array, "batch height width inputs"], stride: int) -> Array:
    """As XLA's convolution, which accelerators have kernels for."""
    padding = ((len(layer["w"]) - 1) // 2, len(layer["w"]) // 2)
    out = jax.lax.conv_general_dilated(
        x, layer["w"], (stride, stride), [padding, padding], dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return out + layer["b"].reshape(1, 1, 1, -1)


def init_norm(size: int) -> dict[str, Array]:
    return {"scale": jnp.ones(size), "offset": jnp.zeros(size)}


def standardize(x: Float[Array, "*batch size"]) -> Float[Array, "*batch size"]:
    """Mean zero and variance one over the last axis."""
    centered = x - jnp.mean(x, axis=-1, keepdims=True)
    return centered * jax.lax.rsqrt(jnp.mean(jnp.square(centered), axis=-1, keepdims=True) + 1e-5)


def layer_norm(layer: dict[str, Array], x: Float[Array, "*batch size"]) -> Float[Array, "*batch size"]:
    shape = (1,) * (x.ndim - 1) + (-1,)
    return standardize(x) * layer["scale"].reshape(shape) + layer["offset"].reshape(shape)


def mlp(
    params: dict, name: str, num_layers: int, x: Float[Array, "*batch inputs"], activation: str, use_norm: bool = False
) -> Float[Array, "*batch outputs"]:
    """Dense layers name_0, name_1, ... with an activation (after a layer norm norm_0, ...) on all but the last."""
    for index in range(num_layers - 1):
        x = dense(params[f"{name}_{index}"], x)
        if use_norm:
            x = layer_norm(params[f"norm_{index}"], x)
        x = ACTIVATIONS[activation](x)
    return dense(params[f"{name}_{num_layers - 1}"], x)


def cut_patches(images: Float[Array, "batch height width channels"], size: int) -> Float[Array, "batch patches pixels"]:
    """Square patches of an image that they tile, row by row."""
    batch, height, width, num_channels = images.shape
    tiles = images.reshape(batch, height // size, size, width // size, size, num_channels)
    return tiles.transpose(0, 1, 3, 2, 4, 5).reshape(batch, -1, size * size * num_channels)


def check_patches(family: Any, input_shape: tuple[int, ...], size: int) -> None:
    height, width = input_shape[:2]
    if height % size or width % size:
        raise ValueError(f"{type(family).__name__}: patch_size must divide the image's {height} x {width}, got {size}")


def cross_entropy(logits: Float[Array, "*batch classes"], labels: Array) -> Float[Array, ""]:
    log_probabilities = jax.nn.log_softmax(logits)
    return -jnp.mean(jnp.take_along_axis(log_probabilities, labels[..., None], axis=-1))
