"""Layers that the families share: plain functions on dictionaries of arrays."""

import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tasks import prng
from tasks.families import draws, recording
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
"""Standard deviation of a kernel's entries, from its fan-in and fan-out."""
NORMS = {
    "layer": lambda x: standardize(x),
    "rms": lambda x: x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-5),
    "batch": lambda x: standardize(x, tuple(range(x.ndim - 1))),
}
"""Norms before their scale and offset: layer norm (Ba et al. 2016), RMS norm (Zhang and Sennrich 2019), and batch norm
(Ioffe and Szegedy 2015). Batch norm takes the statistics of the batch: training doesn't read running averages."""
CHOICES = {"activation": ACTIVATIONS, "initializer": INITIALIZERS, "norm": ("none", *NORMS)}
"""Fields that have the same meaning in every family, and their allowed values."""


def check_fields(family: Any, *sizes: str, **choices: Iterable[str]) -> None:
    """Raises a ValueError that names the field unless `sizes` are positive and each field is one of its `choices`.

    The fields of `CHOICES` and `dropout`, in [0, 1), are checked in every family that has them.
    """
    check_positive(family, *sizes)
    for field, known in (CHOICES | choices).items():
        if hasattr(family, field):
            check_choice(type(family).__name__, field, getattr(family, field), known)
    dropout = getattr(family, "dropout", 0.0)
    if not 0 <= dropout < 1:
        raise ValueError(f"{type(family).__name__}: dropout must be in [0, 1), got {dropout}")


def check_choice(family: str, field: str, value: str, known) -> None:
    """Raises a ValueError that names the field unless the value is one of the choices."""
    if value not in known:
        raise ValueError(f"{family}: {field} must be one of {', '.join(sorted(known))}, got {value!r}")


def check_positive(family: Any, *fields: str) -> None:
    """Raises a ValueError that names the field unless each is at least 1 (of a tuple, every entry)."""
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
    """Layers {"w", "b"} with kernels of the given shapes (..., inputs, outputs) and zero biases, and normal `tables`.

    All are cut from one normal sample.

    Args:
        key: all randomness of the initialisation.
        shapes: layer -> shape of its kernel.
        initializer: a name of `INITIALIZERS`.
        scale: factor on the kernels.
        tables: name -> shape of a plain array, such as an embedding.
        table_deviation: standard deviation of the tables' entries.
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
    """Shapes of the layers name_0, name_1, ... from each of `sizes` to the next; `kernel` is a convolution's size."""
    return {f"{name}_{index}": (*kernel, *pair) for index, pair in enumerate(itertools.pairwise(sizes))}


def dense(layer: dict[str, Array], x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
    """x W + b; without a bias where the layer has none."""
    output = x @ layer["w"]
    if "b" in layer:
        output = output + layer["b"].reshape((1,) * (x.ndim - 1) + (-1,))
    return recording.layer(layer["w"], lambda: x, output)


def conv(
    layer: dict[str, Array], x: Float[Array, "batch height width inputs"], stride: int = 1
) -> Float[Array, "batch out_height out_width outputs"]:
    """Zero-padded convolution: the output has the input's size over the stride. Slices on a CPU, XLA elsewhere."""
    form = conv_by_slices if jax.default_backend() == "cpu" else conv_by_xla
    return recording.layer(layer["w"], lambda: patches(x, len(layer["w"]), stride), form(layer, x, stride))


def conv_by_slices(layer: dict[str, Array], x: Float[Array, "batch height width inputs"], stride: int) -> Array:
    """Convolution as shifted slices and one matrix product.

    On a CPU, XLA's own convolution is 10 to 17 times slower inside a scan, and a slow grouped one under `jax.vmap`.
    """
    size, _, num_inputs, num_outputs = layer["w"].shape
    kernel = layer["w"].reshape(size * size * num_inputs, num_outputs)
    return dense({"w": kernel, "b": layer["b"]}, patches(x, size, stride))


def patches(
    x: Float[Array, "batch height width inputs"], size: int, stride: int
) -> Float[Array, "batch out_height out_width patch"]:
    """The size x size neighbourhoods that a convolution of this stride sees, flattened in the order of its kernel."""
    height, width = x.shape[1:3]
    before, after = (size - 1) // 2, size // 2
    padded = jnp.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))
    return jnp.concatenate(
        [padded[:, i : i + height : stride, j : j + width : stride] for i, j in np.ndindex(size, size)], axis=-1
    )


def conv_by_xla(layer: dict[str, Array], x: Float[Array, "batch height width inputs"], stride: int) -> Array:
    """Convolution by XLA, which has fast kernels for accelerators."""
    padding = ((len(layer["w"]) - 1) // 2, len(layer["w"]) // 2)
    out = jax.lax.conv_general_dilated(
        x, layer["w"], (stride, stride), [padding, padding], dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return out + layer["b"].reshape(1, 1, 1, -1)


def init_norm(size: int) -> dict[str, Array]:
    """The parameters of a norm: scales of one and offsets of zero."""
    return {"scale": jnp.ones(size), "offset": jnp.zeros(size)}


def init_norms(norm: str, sizes: Sequence[int]) -> dict[str, dict[str, Array]]:
    """The norms norm_0, norm_1, ... of layers of the given sizes; empty if `norm` is "none"."""
    return {} if norm == "none" else {f"norm_{index}": init_norm(size) for index, size in enumerate(sizes)}


def standardize(x: Float[Array, "*batch size"], axes: int | tuple[int, ...] = -1) -> Float[Array, "*batch size"]:
    """x with mean zero and variance one over the axes."""
    centered = x - jnp.mean(x, axis=axes, keepdims=True)
    return centered * jax.lax.rsqrt(jnp.mean(jnp.square(centered), axis=axes, keepdims=True) + 1e-5)


def normalize(
    layer: dict[str, Array], x: Float[Array, "*batch size"], norm: str = "layer"
) -> Float[Array, "*batch size"]:
    """A norm of `NORMS`, then a scale and an offset for each entry of the last axis."""
    shape = (1,) * (x.ndim - 1) + (-1,)
    return NORMS[norm](x) * layer["scale"].reshape(shape) + layer["offset"].reshape(shape)


def drop_out(x: Float[Array, "..."], rate: float, key: PRNGKeyArray | None, place: int) -> Float[Array, "..."]:
    """Sets entries to zero with a probability of `rate` and scales the others up (dropout, Srivastava et al. 2014).

    `place` makes the noise differ between layers that share `key`. A rate of zero needs no key.
    """
    if not rate:
        return x
    assert key is not None
    uniform = prng.uniform(prng.fold_in(key, place), x.shape)
    return jnp.where(uniform < rate, 0.0, x / (1.0 - rate))


def mlp(
    params: dict, name: str, num_layers: int, x: Float[Array, "*batch inputs"], activation: str, norm: str = "none",
    dropout: float = 0.0, key: PRNGKeyArray | None = None,
) -> Float[Array, "*batch outputs"]:  # fmt: skip
    """Dense layers name_0, name_1, ...; after all but the last, a norm (norm_0, ...), an activation and dropout."""
    for index in range(num_layers - 1):
        x = dense(params[f"{name}_{index}"], x)
        if norm != "none":
            x = normalize(params[f"norm_{index}"], x, norm)
        x = drop_out(ACTIVATIONS[activation](x), dropout, key, index)
    return dense(params[f"{name}_{num_layers - 1}"], x)


def max_pool(x: Float[Array, "batch height width channels"]) -> Float[Array, "batch half_height half_width channels"]:
    """Maximum of 3 x 3 neighbours at every second position, by slices as in `conv_by_slices`."""
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-1e30)
    return functools.reduce(
        jnp.maximum, [padded[:, i : i + height : 2, j : j + width : 2] for i, j in np.ndindex(3, 3)]
    )


def cross_entropy(logits: Float[Array, "*batch classes"], labels: Array) -> Float[Array, ""]:
    """Mean cross-entropy of integer labels."""
    labels = recording.labels(logits, labels)
    log_probabilities = jax.nn.log_softmax(logits)
    return -jnp.mean(jnp.take_along_axis(log_probabilities, labels[..., None], axis=-1))


def squared_error(predicted: Float[Array, "batch ..."], target: Float[Array, "batch ..."]) -> Float[Array, ""]:
    """Mean squared error over all entries."""
    return jnp.mean(jnp.square(predicted - recording.targets(predicted, target)))
