"""The per-parameter MLP: a bank of small networks that are mixed into one network for each tensor."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from velo.learned_optimizer import Theta
from velo.shapes import Bool, Float, PRNGKeyArray


def init_bank(key: PRNGKeyArray, num_mixtures: int, num_inputs: int, width: int, depth: int, num_outputs: int) -> Theta:
    """A list of layers with a leading bank axis; random hidden layers, a zero output layer."""
    sizes = [num_inputs, *[width] * depth]
    layers = [
        {"w": jax.random.normal(key_layer, (num_mixtures, outputs, inputs)), "b": jnp.zeros((num_mixtures, outputs))}
        for key_layer, inputs, outputs in zip(jax.random.split(key, depth), sizes[:-1], sizes[1:], strict=True)
    ]
    output = {"w": jnp.zeros((num_mixtures, num_outputs, width)), "b": jnp.zeros((num_mixtures, num_outputs))}
    return [*layers, output]


def mix_bank(bank: Theta, controls: Float[jax.Array, "tensors bank"]) -> Theta:
    """Weights of every tensor's network (leading axis): sum_k (1 + control_k) W_k / sqrt(K), biases included."""
    coefficients = (1.0 + controls) * controls.shape[1] ** -0.5
    return jax.tree.map(lambda weights: jnp.tensordot(coefficients, weights, axes=1), bank)


def normalize_inputs(
    layers: Theta, mean_squares: Float[jax.Array, "tensors inputs"], is_read: Bool[np.ndarray, "tensors inputs"]
) -> Theta:
    """Weights for features that aren't normalised: the first layer's are divided by the features' root mean squares.

    Weights of features that a tensor doesn't read (`is_read`) become zero.
    """
    # The derivative for a feature that is zero everywhere is zero, not that of a root at zero.
    is_positive = mean_squares > 0
    scales = jnp.where(is_positive, jax.lax.rsqrt(jnp.where(is_positive, mean_squares, 1.0) + 1e-30), 1e15)
    first = {"w": layers[0]["w"] * jnp.where(is_read, scales, 0.0)[:, None], "b": layers[0]["b"]}
    return [first, *layers[1:]]


def apply_mlp(layers: Theta, features: list[Float[jax.Array, "pages width"]]) -> list[Float[jax.Array, "pages width"]]:
    """ReLU network with its own weights for each page; a layer is w x / sqrt(inputs) + b, as `hypernetwork.dense`.

    It is written out in multiplications and additions, which XLA fuses into one loop over the parameters. Matrix
    products this small would write intermediate results to memory.
    """
    units = features
    for index, layer in enumerate(layers):
        if index > 0:
            units = [jax.nn.relu(unit) for unit in units]
        weights = layer["w"] * layer["w"].shape[2] ** -0.5
        units = [
            functools.reduce(
                jnp.add,
                (weights[:, row, column, None] * unit for column, unit in enumerate(units)),
                layer["b"][:, row, None],
            )
            for row in range(weights.shape[1])
        ]
    return units
