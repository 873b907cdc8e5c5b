"""Layers that the families share: plain functions on dictionaries of arrays."""

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
    "lecun_normal": jax.nn.initializers.lecun_normal(),
    "he_normal": jax.nn.initializers.he_normal(),
    "glorot_uniform": jax.nn.initializers.glorot_uniform(),
    "orthogonal": jax.nn.initializers.orthogonal(),
}


def check_choice(family: str, field: str, value: str, known) -> None:
    if value not in known:
        raise ValueError(f"{family}: {field} must be one of {', '.join(sorted(known))}, got {value!r}")


def check_positive(family: Any, *fields: str) -> None:
    """Raises a ValueError that names the field unless each is a positive integer (or a tuple of them)."""
    for field in fields:
        value = getattr(family, field)
        if any(size < 1 for size in (value if isinstance(value, tuple) else (value,))):
            raise ValueError(f"{type(family).__name__}: {field} must be at least 1, got {value}")


def init_dense(key: PRNGKeyArray, num_inputs: int, num_outputs: int, initializer: str) -> dict[str, Array]:
    return {"w": INITIALIZERS[initializer](key, (num_inputs, num_outputs)), "b": jnp.zeros(num_outputs)}


def dense(layer: dict[str, Array], x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
    bias = layer["b"].reshape((1,) * (x.ndim - 1) + (-1,))
    return x @ layer["w"] + bias


def init_conv(key: PRNGKeyArray, size: int, num_inputs: int, num_outputs: int, initializer: str) -> dict[str, Array]:
    return {"w": INITIALIZERS[initializer](key, (size, size, num_inputs, num_outputs)), "b": jnp.zeros(num_outputs)}


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
