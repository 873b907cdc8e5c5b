"""Averages of gradients at several timescales: momenta, second moments, and Adafactor's factored second moments.

The factored moments are computed tensor by tensor here, as Celo2 and the references do. Rows, columns and unfactored
moments are stored as flat vectors, one each for all tensors, so that the state's tree doesn't depend on the
parameters. `velo.architectures.published.arrangement` computes them for groups of tensors of one shape.
"""

import dataclasses
import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from velo.shapes import Float

SQUARE_FLOOR = 1e-30
FACTOR_FLOOR = 1e-9
MAX_GRADIENT = 1000.0
LARGE_GRADIENT = 1e8  # limit for optimizers that don't clip: it keeps sums of fourth powers finite


class Factored(NamedTuple):
    """Adafactor's second moments: factored over the two longest dimensions of each tensor, in full for rank 0 and 1."""

    rows: Float[jax.Array, "decays rows"]  # averaged over the longest dimension
    columns: Float[jax.Array, "decays columns"]  # averaged over the second-longest
    unfactored: Float[jax.Array, "decays unfactored"]


class FactoredFeatures(NamedTuple):
    """What the per-parameter network reads of one tensor's factored moments; each has the shape (decays, *shape)."""

    row: jax.Array
    column: jax.Array
    gradient_scale: jax.Array  # times a gradient: the normalised gradient
    momentum_scale: jax.Array  # times a momentum: the normalised momentum


@dataclasses.dataclass(frozen=True)
class Factoring:
    """Which dimensions of each tensor are factored; static."""

    shapes: tuple[tuple[int, ...], ...]

    @functools.cached_property
    def row_shapes(self) -> list[tuple[int, ...]]:
        """Shape of each tensor's row averages, without the longest dimension; (0,) where nothing is factored."""
        return [_without(shape, dims[1]) if (dims := factored_dims(shape)) else (0,) for shape in self.shapes]

    @functools.cached_property
    def column_shapes(self) -> list[tuple[int, ...]]:
        """As `row_shapes`, without the second-longest dimension."""
        return [_without(shape, dims[0]) if (dims := factored_dims(shape)) else (0,) for shape in self.shapes]

    @functools.cached_property
    def unfactored_shapes(self) -> list[tuple[int, ...]]:
        """Shape of each tensor's unfactored moments; (0,) for factored tensors."""
        return [(0,) if factored_dims(shape) else shape for shape in self.shapes]

    def init(self, num_decays: int) -> Factored:
        """Moments of zero."""
        groups = (self.row_shapes, self.column_shapes, self.unfactored_shapes)
        return Factored(*(jnp.zeros((num_decays, sum(map(math.prod, shapes)))) for shapes in groups))

    def split(self, factored: Factored) -> list[tuple[jax.Array, jax.Array, jax.Array]]:
        """(rows, columns, unfactored moments) of each tensor, the decays as the leading axis."""
        return list(
            zip(
                _split(factored.rows, self.row_shapes),
                _split(factored.columns, self.column_shapes),
                _split(factored.unfactored, self.unfactored_shapes),
                strict=True,
            )
        )

    def update(
        self, factored: Factored, grads: list[jax.Array], decays: Float[jax.Array, " decays"], unfactored_epsilon: float
    ) -> tuple[Factored, list[FactoredFeatures]]:
        """The averages after `grads`, and what the per-parameter network reads of them.

        Args:
            grads: one array per tensor.
            decays: of the averages.
            unfactored_epsilon: added to an unfactored moment before its inverse root scales the momentum.
        """
        parts, features = [], []
        for grad, (rows, columns, moments) in zip(grads, self.split(factored), strict=True):
            squares = jnp.square(grad.astype(jnp.float32)) + SQUARE_FLOOR
            dims = factored_dims(grad.shape)
            if dims is None:
                moments = average(moments, squares, decays)
                features.append(_unfactored_features(moments, unfactored_epsilon))
            else:
                rows = average(rows, jnp.mean(squares, axis=dims[1]), decays)
                columns = average(columns, jnp.mean(squares, axis=dims[0]), decays)
                features.append(_factored_features(rows, columns, dims, grad.shape))
            parts.append((rows, columns, moments))
        flat = [[part.reshape(len(decays), -1) for part in group] for group in zip(*parts, strict=True)]
        empty = jnp.zeros((len(decays), 0))
        return Factored(*(jnp.concatenate([empty, *group], axis=1) for group in flat or [[]] * 3)), features


def factored_dims(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """(second-longest, longest) dimension; None below rank 2 and for empty tensors.

    Ties are broken as NumPy's default argsort breaks them: the released weights were trained with that.
    """
    if len(shape) < 2 or math.prod(shape) == 0:
        return None
    order = np.argsort(shape)
    return int(order[-2]), int(order[-1])


def average_once(old: jax.Array, new: jax.Array, decay: float | Float[jax.Array, ""]) -> jax.Array:
    """Exponential average; 1 - decay is computed in float32, as in the released optimizers."""
    decay = jnp.asarray(decay, jnp.float32)
    return decay * old + (1.0 - decay) * new


def average(old: jax.Array, new: jax.Array, decays: Float[jax.Array, " decays"]) -> jax.Array:
    """Exponential averages at several decays, which are the first axis of `old` and of the result."""
    decays = decays.reshape(-1, *[1] * new.ndim)
    return decays * old + (1.0 - decays) * new[None]


def clean(grads: list[jax.Array], limit: float) -> list[jax.Array]:
    """Gradients in float32, clipped to [-limit, limit].

    Deviation: the references let a NaN into every average; here it counts as zero. Infinities count as the limit, also
    for references that don't clip.
    """
    return [jnp.clip(jnp.nan_to_num(grad.astype(jnp.float32), nan=0.0), -limit, limit) for grad in grads]


def safe_rsqrt(x: jax.Array) -> jax.Array:
    """1 / sqrt(max(x, 1e-9))."""
    return jax.lax.rsqrt(jnp.maximum(x, FACTOR_FLOOR))


def _factored_features(rows, columns, dims: tuple[int, int], shape: tuple[int, ...]) -> FactoredFeatures:
    second, longest = dims
    place = second - 1 if second > longest else second  # of the second-longest dimension within the rows
    row_scale = safe_rsqrt(rows / (jnp.mean(rows, axis=1 + place, keepdims=True) + 1e-9))
    full = (rows.shape[0], *shape)
    row, row_scale = (jnp.broadcast_to(jnp.expand_dims(x, 1 + longest), full) for x in (rows, row_scale))
    column, column_scale = (
        jnp.broadcast_to(jnp.expand_dims(x, 1 + second), full) for x in (columns, safe_rsqrt(columns))
    )
    return FactoredFeatures(row, column, row_scale * column_scale, row_scale * column_scale)


def _unfactored_features(moments, epsilon: float) -> FactoredFeatures:
    return FactoredFeatures(moments, moments, safe_rsqrt(moments + 1e-9), jnp.power(moments + epsilon, -0.5))


def _without(shape: tuple[int, ...], dim: int) -> tuple[int, ...]:
    return shape[:dim] + shape[dim + 1 :]


def _split(flat: jax.Array, shapes: list[tuple[int, ...]]) -> list[jax.Array]:
    ends = np.cumsum([0, *map(math.prod, shapes)])
    return [
        flat[:, begin:end].reshape(-1, *shape) if end > begin else jnp.zeros((flat.shape[0], *shape))
        for begin, end, shape in zip(ends[:-1], ends[1:], shapes, strict=True)
    ]
