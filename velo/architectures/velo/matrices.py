"""Which tensors are matrices, and which of their sides are rotated into an eigenbasis; static.

| tensor | read as |
|---|---|
| scalar, vector, matrix of one row or column | left alone |
| one side over `ALONE_ASPECT` times the other, as in embeddings | left alone, unless `MatrixAxes` name it |
| matrix | itself |
| more axes | all axes but the last by the last, or two other groups of neighbours that are closer to a square |
| with `MatrixAxes` | as they say; axes in neither group count matrices, such as those of stacked layers |

| side | rotated |
|---|---|
| over `MAX_ASPECT` times the other side | no: only the other side is |
| at most `max_side` | whole |
| longer, with a divisor in [max_side / 4, max_side] | in blocks of the largest such divisor |
| longer otherwise | no |

A split other than before the last axis is chosen only if its matrix is at least twice as close to a square. A
convolution's (3, 3, 16, 32) is 144 x 32, attention's (64, 4, 16) and (4, 16, 64) are 64 x 64, its (64, 3, 4, 16) is
64 x 192.

In the code, `turned` marks rotated sides, and tensors with at least one; other tensors are left alone. If a tensor is
sharded over devices, the second table has to hold for the whole tensor and for a part.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from velo.shapes import Array, Float

MARGIN = 2.0
"""Factor by which the aspect of another split has to be smaller than that of the last axis alone."""
MAX_ASPECT = 8
ALONE_ASPECT = 64
"""Above the aspects of convolutions: one of 7 x 7 with as many inputs as outputs is 49 times as tall as wide."""


class MatrixAxes(NamedTuple):
    """The axes of one tensor that make up the rows and the columns of its matrices; the other axes count matrices.

    A dense kernel stacked over layers, (layers, inputs, outputs), has `MatrixAxes((1,), (2,))`. `MatrixAxes((), ())`
    means that a tensor has no matrices. Negative axes count from the end. The class resembles
    `optax.contrib.MuonDimensionNumbers`.
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class View:
    """How one tensor is read as `count` matrices of `rows` x `columns`; a matrix in blocks counts as one per block."""

    shape: tuple[int, ...]
    permutation: tuple[int, ...]
    """Axes of the tensor: first those that count matrices, then those of rows, then those of columns."""
    batch: int
    """Number of matrices before they are cut into blocks."""
    blocks: tuple[int, int]
    """Number of blocks along the (rows, columns) of each."""
    rows: int
    columns: int
    turned: tuple[bool, bool]
    """Whether the (left, right) side is rotated into an eigenbasis."""

    @property
    def count(self) -> int:
        """Number of matrices."""
        return self.batch * self.blocks[0] * self.blocks[1]

    def split(self, leaf: Array) -> Float[Array, "count rows columns"]:
        """The matrices of the tensor."""
        above, beside = self.blocks
        blocks = leaf.transpose(self.permutation).reshape(self.batch, above, self.rows, beside, self.columns)
        return blocks.transpose(0, 1, 3, 2, 4).reshape(self.count, self.rows, self.columns)

    def join(self, matrices: Float[Array, "count rows columns"]) -> Array:
        """The inverse of `split`."""
        above, beside = self.blocks
        blocks = matrices.reshape(self.batch, above, beside, self.rows, self.columns).transpose(0, 1, 3, 2, 4)
        permuted = blocks.reshape([self.shape[axis] for axis in self.permutation])
        return permuted.transpose(np.argsort(self.permutation))

    def axes(self) -> list[list[tuple[int, int]]]:
        """(size, stride in the tensor) of the axes that count matrices, of those of rows and of those of columns."""
        axes = [(self.shape[axis], math.prod(self.shape[axis + 1 :])) for axis in self.permutation]
        axes, groups = [axis for axis in axes if axis[0] > 1], []
        for length in (self.batch, self.blocks[0] * self.rows, self.blocks[1] * self.columns):
            group = []
            while math.prod(size for size, _ in group) < length:
                group.append(axes.pop(0))
            groups.append(group)
        return groups


def view(
    shape: tuple[int, ...], max_side: int, axes: MatrixAxes | None = None, part: tuple[int, ...] | None = None
) -> View | None:
    """The tensor's view, or None if none of its sides is turned.

    Args:
        part: shape of the part that a device holds, if not the whole tensor. Turned sides and their blocks must then
            fit the part too: a block never extends beyond it.

    Raises:
        ValueError: `axes` names an axis that the tensor doesn't have, or one twice.
    """
    rows, columns = _axes(shape, axes)
    if not rows or not columns or math.prod(shape) == 0:
        return None
    batch = tuple(axis for axis in range(len(shape)) if axis not in (*rows, *columns))
    part = part or shape
    (whole_rows, whole_columns), sides = (
        [math.prod(of[axis] for axis in group) for group in (rows, columns)] for of in (shape, part)
    )
    if axes is None and max(whole_rows, whole_columns) > ALONE_ASPECT * min(whole_rows, whole_columns):
        return None
    turned = (_block(whole_rows, whole_columns, max_side), _block(whole_columns, whole_rows, max_side))
    blocks = [
        _block(side, other, max_side) if is_turned else 0
        for side, other, is_turned in zip(sides, sides[::-1], turned, strict=True)
    ]
    if blocks == [0, 0]:
        return None
    counts = [side // block if block else 1 for side, block in zip(sides, blocks, strict=True)]
    return View(
        part,
        (*batch, *rows, *columns),
        math.prod(part[axis] for axis in batch),
        (counts[0], counts[1]),
        sides[0] // counts[0],
        sides[1] // counts[1],
        (bool(blocks[0]), bool(blocks[1])),
    )


def _axes(shape: tuple[int, ...], axes: MatrixAxes | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    rank = len(shape)
    if axes is None:
        if rank < 2:
            return (), ()
        sides = [(math.prod(shape[:place]), math.prod(shape[place:])) for place in range(1, rank)]
        aspects = [max(pair) / max(1, min(pair)) for pair in sides]
        is_better = rank > 2 and min(aspects) * MARGIN <= aspects[-1]
        place = 1 + aspects.index(min(aspects)) if is_better else rank - 1
        return tuple(range(place)), tuple(range(place, rank))
    named = [axis + rank if axis < 0 else axis for axis in (*axes.rows, *axes.columns)]
    if len(set(named)) < len(named) or not all(0 <= axis < rank for axis in named):
        raise ValueError(f"matrix_axes: each axis must be one of {rank} and named once, got {axes} for shape {shape}")
    return tuple(named[: len(axes.rows)]), tuple(named[len(axes.rows) :])


def _block(side: int, other: int, max_side: int) -> int:
    """Size of the blocks that a side is turned in: the side itself if it is turned whole, 0 if it isn't turned."""
    if 1 in (side, other) or side > MAX_ASPECT * other:
        return 0
    fitting = [size for size in range(max(2, max_side // 4), max_side + 1) if side % size == 0]
    return side if side <= max_side else max(fitting, default=0)


class Stack(NamedTuple):
    """Where one side of a group's matrices has its bases: entries `start` to `start + count` of a stack."""

    index: int
    start: int
    count: int


@dataclasses.dataclass(frozen=True)
class Group:
    """Matrices of one shape with the same sides turned; they are processed in one batched operation."""

    tensors: tuple[int, ...]
    counts: tuple[int, ...]
    sides: tuple[Stack | None, Stack | None]


@dataclasses.dataclass(frozen=True)
class Plan:
    """The matrices of a tree: groups by shape, and stacks of bases by size."""

    views: tuple[View | None, ...]

    @functools.cached_property
    def turned(self) -> np.ndarray:
        """True for tensors that have a view."""
        return np.array([view is not None for view in self.views], bool)

    @functools.cached_property
    def turned_tensors(self) -> list[int]:
        """Indices of the tensors that have a view."""
        return np.flatnonzero(self.turned).tolist()

    def of_turned(self) -> "Plan":
        """The plan of only the tensors that have a view."""
        return Plan(tuple(self.views[index] for index in self.turned_tensors))

    @functools.cached_property
    def _layout(self) -> tuple[tuple[Group, ...], tuple[tuple[int, int], ...]]:
        members: dict[tuple, list[int]] = {}
        for index, seen in enumerate(self.views):
            if seen is not None:
                members.setdefault((seen.rows, seen.columns, seen.turned), []).append(index)
        sizes = sorted({size for key in members for size, turned in zip(key[:2], key[2], strict=True) if turned})
        filled = dict.fromkeys(sizes, 0)
        groups = []
        for (rows, columns, turned), tensors in members.items():
            counts = tuple(self._view(index).count for index in tensors)
            sides: list[Stack | None] = []
            for size, is_turned in zip((rows, columns), turned, strict=True):
                if not is_turned:
                    sides.append(None)
                    continue
                sides.append(Stack(sizes.index(size), filled[size], sum(counts)))
                filled[size] += sum(counts)
            groups.append(Group(tuple(tensors), counts, (sides[0], sides[1])))
        return tuple(groups), tuple((filled[size], size) for size in sizes)

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups of matrices."""
        return self._layout[0]

    @property
    def stacks(self) -> tuple[tuple[int, int], ...]:
        """(number of bases, size) of each stack."""
        return self._layout[1]

    @functools.cached_property
    def table(self) -> np.ndarray:
        """The views as `read_views` of the kernel's `matrices.h` reads them."""
        sides = {}
        for group in self.groups:
            start = 0
            for tensor, count in zip(group.tensors, group.counts, strict=True):
                sides[tensor] = [(-1, 0) if side is None else (side.index, side.start + start) for side in group.sides]
                start += count
        table = []
        for tensor in sorted(sides):
            view = self._view(tensor)
            (above, beside), (left, right) = view.blocks, sides[tensor]
            table += [tensor, view.batch, above, view.rows, beside, view.columns, *left, *right]
            for axes in view.axes():
                table += [len(axes), *(number for axis in axes for number in axis)]
        return np.array(table, np.int64)

    def _view(self, tensor: int) -> View:
        found = self.views[tensor]
        assert found is not None
        return found

    def gather(self, leaves: Sequence[Array]) -> list[Float[Array, "_ _ _"]]:
        """The matrices of each group, [matrices, rows, columns], of leaves in their own shapes."""
        return [
            jnp.concatenate([self._view(index).split(leaves[index]) for index in group.tensors])
            for group in self.groups
        ]

    def scatter(self, matrices: Sequence[Array], leaves: Sequence[Array]) -> list[Array]:
        """`leaves`, where those with a view are replaced by their matrices, back in the tensors' own axes."""
        return self._replace(matrices, leaves, lambda view, piece: view.join(piece))

    def store(self, matrices: Sequence[Array], leaves: Sequence[Array]) -> list[Array]:
        """`leaves`, where those with a view hold their matrices one after the other, reshaped to the tensors'
        shapes.
        """
        return self._replace(matrices, leaves, lambda view, piece: piece.reshape(view.shape))

    def _replace(self, matrices, leaves, shape_back):
        leaves = list(leaves)
        for group, stacked in zip(self.groups, matrices, strict=True):
            start = 0
            for index, count in zip(group.tensors, group.counts, strict=True):
                leaves[index] = shape_back(self._view(index), stacked[start : start + count])
                start += count
        return leaves

    def load(self, leaves: Sequence[Array]) -> list[Float[Array, "_ _ _"]]:
        """The inverse of `store`."""
        return [
            jnp.concatenate(
                [
                    leaves[index].reshape(self._view(index).count, self._view(index).rows, self._view(index).columns)
                    for index in group.tensors
                ]
            )
            for group in self.groups
        ]

    def by_tensor(self, per_matrix: Sequence[Float[Array, "_"]]) -> Float[Array, " tensors"]:
        """Sums over the matrices of each tensor; zero for tensors without a view."""
        if not self.groups:
            return jnp.zeros(len(self.views))
        owners = np.concatenate([np.repeat(group.tensors, group.counts) for group in self.groups])
        membership = (owners[None] == np.arange(len(self.views))[:, None]).astype(np.float32)
        return membership @ jnp.concatenate(per_matrix)


def plan(
    shapes: Sequence[tuple[int, ...]],
    max_side: int,
    axes: Sequence[MatrixAxes | None],
    parts: Sequence[tuple[int, ...]] | None = None,
) -> Plan:
    """The plan of tensors of these shapes; arguments as in `view`."""
    each = zip(shapes, axes, parts or shapes, strict=True)
    return Plan(tuple(view(shape, max_side, own, part) for shape, own, part in each))


def flatten_axes(tree, params) -> list[MatrixAxes | None]:
    """`MatrixAxes` or None for each tensor of `params`, in the order of its leaves.

    Args:
        tree: None, a tree like the parameters or a prefix of it with `MatrixAxes` or None at its leaves, or a function
            from the parameters to such a tree.
    """
    chosen = tree(params) if callable(tree) else tree
    axes: list[MatrixAxes | None] = []

    def spread(own, below):
        axes.extend([own] * len(jax.tree.leaves(below)))

    jax.tree.map(spread, chosen, params, is_leaf=lambda node: node is None or isinstance(node, MatrixAxes))
    return axes
