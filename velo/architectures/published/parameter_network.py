"""The released per-parameter network: its inputs, their normalisation, and the bank of its weights."""

import jax
import jax.numpy as jnp
import numpy as np

from velo.architectures.pages import Layout
from velo.architectures.published.accumulators import FactoredFeatures
from velo.architectures.published.hypernetwork import truncated_normal
from velo.learned_optimizer import Theta
from velo.shapes import Float, PRNGKeyArray

MAX_GRADIENT_FEATURE = 0.1


def init_bank(key: PRNGKeyArray, num_mixtures: int, sizes: tuple[int, ...]) -> Theta:
    """A list of layers {w: (bank, outputs, inputs), b: (bank, outputs)} for the given sizes, inputs first."""
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        {
            "w": truncated_normal(key_layer, (num_mixtures, outputs, inputs), inputs),
            "b": jnp.zeros((num_mixtures, outputs)),
        }
        for key_layer, inputs, outputs in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


def mix_bank(bank: Theta, coefficients: Float[jax.Array, "tensors bank"]) -> Theta:
    """Weights of every tensor's network (leading axis): sum_k coefficient_k W_k / K, biases included."""
    return jax.tree.map(lambda weights: jnp.tensordot(coefficients / weights.shape[0], weights, axes=1), bank)


def parameter_features(
    grad: jax.Array,
    params: jax.Array,
    momenta: jax.Array,
    second_moment: jax.Array,
    factored: FactoredFeatures,
    with_clipped: bool,
    epsilon: float = 1e-6,
) -> jax.Array:
    """The inputs in the order of the released weights: 30 with the clipped and the normalised gradient, 28 without.

    Args:
        grad: of any shape; `params` and `second_moment` have the same.
        params: the parameters.
        momenta: averages of gradients, with the decays as the leading axis, as in `factored`.
        second_moment: average of squared gradients.
        factored: of the tensor.
        with_clipped: whether to include the clipped and the normalised gradient.
        epsilon: added to the second moment under the root.

    Returns:
        Array of shape (inputs, *shape).
    """
    root = jax.lax.rsqrt(second_moment + epsilon)
    rows = [
        grad[None],
        *([jnp.clip(grad, -MAX_GRADIENT_FEATURE, MAX_GRADIENT_FEATURE)[None]] if with_clipped else []),
        params[None],
        momenta,
        second_moment[None],
        momenta * root[None],
        root[None],
        grad[None] * factored.gradient_scale,
        *([(grad * root)[None]] if with_clipped else []),
        factored.row,
        factored.column,
        jax.lax.rsqrt(factored.row + 1e-8),
        jax.lax.rsqrt(factored.column + 1e-8),
        momenta * factored.momentum_scale,
    ]
    return jnp.concatenate(rows)


def by_page(layout: Layout, features: Float[jax.Array, "inputs pages width"]) -> jax.Array:
    """The features in the network's layout, (pages, inputs, width), zero where there is no parameter."""
    return jnp.swapaxes(features, 0, 1) * layout.occupied[:, None]


def normalizers(layout: Layout, features: Float[jax.Array, "pages inputs width"]) -> Float[jax.Array, "tensors inputs"]:
    """Factors that give every input a mean square of 1 over each tensor."""
    counts = np.maximum(layout.sizes, 1).astype(np.float32)[:, None]
    return jax.lax.rsqrt(1e-5 + layout.sum_by_tensor(jnp.sum(jnp.square(features), axis=2)) / counts)
