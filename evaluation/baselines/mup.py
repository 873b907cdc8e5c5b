"""muP: initial weights and learning rates by layer, with which a rate tuned at one width is right at all widths.

    base = jax.eval_shape(network(width=64).init, key)            # shapes at the width where the rate was tuned
    params = mup.initialize(network(width=1024).init(key), base)  # from the usual 1 / sqrt(inputs)
    tx = optax.chain(optax.adam(3e-3), mup.scale_by_layer(mup.ADAM, base))

At the base width both change nothing. The kind of a layer follows from which axes of its kernel are wider than the
base's: only the outputs (input layer), both (hidden layer), only the inputs (output layer).

Papers: 2011.14522 for gradient descent, 2203.03466 for Adam, 2312.12226 for K-FAC and Shampoo, 2512.05620 for SOAP. The
notation is that of 2312.12226: initial standard deviations are proportional to width^-b, learning rates to width^-c.
"""

import enum
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class Kind(enum.Enum):
    """How a tensor grows with the width."""

    INPUT = "input"
    """From data to features."""
    VECTOR = "vector"
    """Biases and norms of features: weights of an input that is 1, so most optimizers treat them as input layers."""
    HIDDEN = "hidden"
    OUTPUT = "output"
    """From features to outputs."""
    FIXED = "fixed"
    """It doesn't grow, and keeps its initial values and its learning rate."""


class Exponents(NamedTuple):
    """Exponents of 1 / width, by kind of layer."""

    input: float
    hidden: float
    output: float
    vector: float | None = None
    """Of biases and norms; None for that of the input layer."""

    def factor(self, kind: Kind, ratio: float) -> float:
        """ratio^-exponent, 1 for a fixed tensor."""
        if kind is Kind.FIXED:
            return 1.0
        if kind is Kind.VECTOR and self.vector is None:
            kind = Kind.INPUT
        return ratio ** -getattr(self, kind.value)


STANDARD_DEVIATION = Exponents(0.0, 0.5, 0.5)
"""b of the usual initialisations, 1 / sqrt(inputs)."""
MUP_DEVIATION = Exponents(0.0, 0.5, 1.0)
"""b of muP, for every optimizer (2312.12226, table 1)."""
SGD = Exponents(-1.0, 0.0, 1.0)
"""c of gradient descent, with momentum as well (2011.14522)."""
ADAM = Exponents(0.0, 1.0, 1.0)
"""c of optimizers whose steps don't depend on the scale of the gradient: Adam, RMSProp, Lion (2203.03466)."""
KFAC = Exponents(0.0, 0.0, 0.0)
"""c of K-FAC under relative damping (2312.12226)."""
SHAMPOO = Exponents(-0.5, 0.0, 0.5)
"""c of Shampoo with the exponent 1/4 a side, without grafting, under relative damping (2312.12226)."""
SOAP = Exponents(-0.5, 0.0, 0.5, vector=0.0)
"""c of SOAP with both sides of every matrix rotated, sqrt(inputs / outputs) (2512.05620), and of Adam for vectors."""


def kinds(params: Any, base: Any) -> Any:
    """(kind, ratio) of every tensor: how it grows with the width, and width / base width.

    The last two axes of a kernel are its inputs and outputs, also for a convolution.

    Args:
        params: arrays or shapes.
        base: the same tree at the base width.

    Returns:
        A tree of the same structure with a tuple for each tensor.

    Raises:
        ValueError: in one line, if the structures differ, if a tensor differs from the base's in more than its last two
            axes, or if these grow by different factors.
    """
    structures = jax.tree.structure(params), jax.tree.structure(base)
    if structures[0] != structures[1]:
        raise ValueError(
            f"mup: params and base must be trees of the same structure, got {structures[0]}, {structures[1]}"
        )
    return jax.tree_util.tree_map_with_path(_kind, params, base)


def _kind(path: Any, leaf: Any, base: Any) -> tuple[Kind, float]:
    shape, base_shape = jnp.shape(leaf), jnp.shape(base)
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    if len(shape) != len(base_shape) or shape[:-2] != base_shape[:-2] or 0 in base_shape:
        raise ValueError(f"mup: {name!r} of shape {shape} is no wider form of the base's {base_shape}")
    grown = [size / base_size for size, base_size in zip(shape[-2:], base_shape[-2:], strict=True)]
    ratios = {ratio for ratio in grown if ratio != 1.0}
    if not ratios:
        return Kind.FIXED, 1.0
    if len(ratios) > 1:
        raise ValueError(
            f"mup: inputs and outputs of {name!r} must grow alike, got {shape} from the base's {base_shape}"
        )
    if len(grown) == 1:
        kind = Kind.VECTOR
    else:
        kind = Kind.INPUT if grown[0] == 1.0 else Kind.OUTPUT if grown[1] == 1.0 else Kind.HIDDEN
    return kind, ratios.pop()


def initialize(params: Any, base: Any) -> Any:
    """Initial params in muP from those of a usual initialisation: divides read-outs by sqrt(width / base width).

    Args:
        params: initial values whose standard deviations are a constant / sqrt(inputs).
        base: the same tree at the base width, arrays or shapes.

    Raises:
        ValueError: as `kinds`.
    """

    def scaled(leaf, kind_and_ratio):
        factor = MUP_DEVIATION.factor(*kind_and_ratio) / STANDARD_DEVIATION.factor(*kind_and_ratio)
        return leaf * jnp.asarray(factor, leaf.dtype)

    return jax.tree.map(scaled, params, kinds(params, base))


def scale_by_layer(rates: Exponents, base: Any) -> optax.GradientTransformation:
    """Multiplies every tensor's update by (width / base width)^-c; chain it after the optimizer.

    It also scales decoupled weight decay in that optimizer. For decay that doesn't depend on the layer, chain
    `optax.add_decayed_weights` after this.

    Args:
        rates: c of the optimizer: `SGD`, `ADAM`, `KFAC`, `SHAMPOO`, `SOAP`, or your own.
        base: params at the base width, arrays or shapes.

    Raises:
        ValueError: from `update`, as `kinds`.
    """

    def update(updates, params=None):
        del params
        return jax.tree.map(
            lambda leaf, kind_and_ratio: leaf * jnp.asarray(rates.factor(*kind_and_ratio), leaf.dtype),
            updates,
            kinds(updates, base),
        )

    return optax.stateless(update)
