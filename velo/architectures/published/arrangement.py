"""Orders tensors by shape, so that tensors of one shape are one array, and keeps their factored second moments.

Row and column averages are vectors, computed and stored for each group of equal shape. Only what the per-parameter
network reads of them is expanded to pages (`velo.architectures.pages`).
"""

import collections
import dataclasses
import functools
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from velo.architectures.pages import Layout
from velo.architectures.published.accumulators import SQUARE_FLOOR, average, clean, factored_dims
from velo.shapes import Float

Vectors = list[tuple[jax.Array, jax.Array]]
"""(row averages, column averages) of each group: (..., tensors, *shape without the averaged dimension)."""
Combine = Callable[[jax.Array, jax.Array], jax.Array]
MIN_WIDTH, MIN_COMMON_WIDTH, MAX_WIDTH = 32, 64, 1024
"""Limits of the widths of pages that divide rows: smallest for one shape, smallest for several shapes, largest."""
MIN_BY_ROWS = 1 << 16
"""Least number of parameters for which pages that divide rows are worth a loop of their own."""
MAX_PARTS = 4
"""Most parts of an arrangement. The state always has this many places, so that its tree doesn't depend on the
parameters (`optax.tree` needs that)."""


class Factored(NamedTuple):
    """Adafactor's second moments: factored over the two longest dimensions of each tensor, in full for rank 0 and 1."""

    rows: Float[jax.Array, "decays rows"]  # averaged over the longest dimension
    columns: Float[jax.Array, "decays columns"]  # averaged over the second-longest
    unfactored: Float[jax.Array, "decays pages width"]  # those of the unfactored tensors, which come first


@dataclasses.dataclass(frozen=True)
class Group:
    """Tensors of one factored shape: places `begin` to `end` (excluded) of the arrangement."""

    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def count(self) -> int:
        """Number of tensors."""
        return self.end - self.begin

    @property
    def second(self) -> int:
        """Axis of the second-longest dimension. All axes here are counted from the end."""
        dims = factored_dims(self.shape)
        assert dims is not None
        return dims[0] - len(self.shape)

    @property
    def longest(self) -> int:
        """Axis of the longest dimension."""
        dims = factored_dims(self.shape)
        assert dims is not None
        return dims[1] - len(self.shape)

    @property
    def second_of_rows(self) -> int:
        """Axis of the second-longest dimension in the row averages, which lack the longest one."""
        return self.second + 1 if self.longest > self.second else self.second

    @property
    def row_shape(self) -> tuple[int, ...]:
        """(tensors, *shape without the longest dimension)."""
        return (self.count, *np.delete(self.shape, self.longest).tolist())

    @property
    def column_shape(self) -> tuple[int, ...]:
        """(tensors, *shape without the second-longest dimension)."""
        return (self.count, *np.delete(self.shape, self.second).tolist())


@dataclasses.dataclass(frozen=True)
class Part:
    """Tensors that share a layout of pages: tensors of any shape, or (`by_rows`) tensors whose rows are whole pages.

    With `by_rows` a page lies in one row. Of row and column averages one is then a number for the page. The other is a
    vector over the page's entries, here called lanes. So neither is expanded to the parameters.
    """

    layout: Layout
    begin: int
    groups: tuple[Group, ...]
    by_rows: bool

    @property
    def end(self) -> int:
        """One past the part's last place in the arrangement."""
        return self.begin + len(self.layout.shapes)

    def expand(self, combine: Combine, vectors: Vectors, first: jax.Array, padding: float) -> "Expanded":
        """`combine(row average, column average)` for each parameter.

        Args:
            combine: elementwise function.
            vectors: of the part's groups.
            first: pages of the unfactored tensors, which come before the groups.
            padding: value of the entries that hold no parameter.
        """
        if self.by_rows:
            return self._by_page_and_lane(vectors, padding)
        (depth, num_pages, width), parts = first.shape, [first]
        for group, (rows, columns) in zip(self.groups, vectors, strict=True):
            full = combine(jnp.expand_dims(rows, group.longest), jnp.expand_dims(columns, group.second))
            size, pages = math.prod(group.shape), int(self.layout.pages_per_tensor[group.begin - self.begin])
            full = full.reshape(depth, group.count, size)
            full = jnp.pad(full, ((0, 0), (0, 0), (0, pages * width - size)), constant_values=padding)
            parts.append(full.reshape(depth, group.count * pages, width))
            num_pages += group.count * pages
        parts.append(jnp.full((depth, self.layout.num_pages - num_pages, width), padding))
        return Expanded(jnp.concatenate(parts, axis=1), None)

    def _by_page_and_lane(self, vectors: Vectors, padding: float) -> "Expanded":
        width, numbers, lanes = self.layout.page_size, [], []
        for group, (rows, columns) in zip(self.groups, vectors, strict=True):
            of_row, of_lane = (rows, columns) if group.longest == -1 else (columns, rows)
            depth = of_row.shape[0]
            numbers.append(jnp.repeat(of_row.reshape(depth, -1), group.shape[-1] // width, axis=1))
            lanes.append(of_lane.reshape(depth, -1, width))
        used = sum(x.shape[1] for x in numbers)
        numbers.append(jnp.full((numbers[0].shape[0], self.layout.num_pages - used), padding))
        return Expanded(jnp.concatenate(numbers, axis=1)[:, :, None], jnp.concatenate(lanes, axis=1))

    @functools.cached_property
    def lane_vectors(self) -> np.ndarray:
        """With `by_rows`: index of each page's vector in `Expanded.lanes`; zeros otherwise."""
        if not self.by_rows:
            return np.zeros(self.layout.num_pages, np.int64)
        numbers, begin = [], 0
        for group in self.groups:
            other = group.second if group.longest == -1 else group.longest
            leading = [group.count, *group.shape[:-1], group.shape[-1] // self.layout.page_size]
            kept = [1 if axis == other + len(leading) else size for axis, size in enumerate(leading)]
            numbers.append(begin + np.broadcast_to(np.arange(math.prod(kept)).reshape(kept), leading).reshape(-1))
            begin += math.prod(kept)
        flat = np.concatenate(numbers)
        return np.pad(flat, (0, self.layout.num_pages - len(flat)), mode="edge")


class Expanded(NamedTuple):
    """Row and column averages as the passes read them: full pages, or numbers of the pages and vectors over lanes."""

    pages: Float[jax.Array, "depth pages width"]
    lanes: Float[jax.Array, "depth vectors width"] | None


@dataclasses.dataclass(frozen=True)
class Arrangement:
    """An order of the tensors: the unfactored ones, then the others by shape; static."""

    shapes: tuple[tuple[int, ...], ...]
    """In the order of the leaves."""

    @functools.cached_property
    def order(self) -> list[int]:
        """Index of the leaf at each place."""
        shapes = self.shapes
        return sorted(range(len(shapes)), key=lambda leaf: (*self._place(shapes[leaf]), shapes[leaf]))

    @functools.cached_property
    def _widths(self) -> dict[tuple[int, ...], int]:
        """Page width of each shape whose rows are whole pages."""
        return _row_widths(self.shapes)

    def _place(self, shape: tuple[int, ...]) -> tuple[bool, int]:
        return factored_dims(shape) is not None, self._widths.get(shape, 0)

    @functools.cached_property
    def num_unfactored(self) -> int:
        """Number of tensors that are not factored."""
        return sum(factored_dims(shape) is None for shape in self.shapes)

    @functools.cached_property
    def num_unfactored_pages(self) -> int:
        """Number of their pages."""
        if not self.num_unfactored:
            return 0
        return int(self.parts[0].layout.pages_per_tensor[: self.num_unfactored].sum())

    @functools.cached_property
    def groups(self) -> list[Group]:
        """The groups of factored tensors, in the arrangement's order."""
        shapes = self.sort(self.shapes)
        runs = itertools.groupby(range(self.num_unfactored, len(shapes)), lambda place: shapes[place])
        return [Group(shape, min(places), max(places) + 1) for shape, run in runs for places in [list(run)]]

    @functools.cached_property
    def parts(self) -> list[Part]:
        """The parts, one for each page width, in the arrangement's order."""
        shapes, parts, begin = self.sort(self.shapes), [], 0
        for width, run in itertools.groupby(shapes, lambda shape: self._widths.get(shape, 0)):
            layout = Layout(tuple(run), width or None)
            end = begin + len(layout.shapes)
            groups = tuple(group for group in self.groups if begin <= group.begin < end)
            parts.append(Part(layout, begin, groups, by_rows=width > 0))
            begin = end
        return parts

    @property
    def sizes(self) -> np.ndarray:
        """Number of parameters of each tensor, in the arrangement's order."""
        return np.concatenate([part.layout.sizes for part in self.parts])

    def sort(self, leaves) -> list:
        """The leaves in the arrangement's order."""
        return [leaves[leaf] for leaf in self.order]

    def restore(self, tensors: list) -> list:
        """The inverse of `sort`."""
        return [tensors[place] for place in np.argsort(self.order)]

    def pack(self, tensors: list[jax.Array]) -> tuple[jax.Array, ...]:
        """The pages of each part."""
        return tuple(part.layout.pack(tensors[part.begin : part.end]) for part in self.parts)

    def init(self, num_decays: int) -> Factored:
        """Moments of zero."""
        width = self.parts[0].layout.page_size if self.num_unfactored else 0
        return Factored(
            jnp.zeros((num_decays, sum(math.prod(group.row_shape) for group in self.groups))),
            jnp.zeros((num_decays, sum(math.prod(group.column_shape) for group in self.groups))),
            jnp.zeros((num_decays, self.num_unfactored_pages, width)),
        )

    def vectors(self, factored: Factored) -> Vectors:
        """Row and column averages of each group, the decays as the leading axis."""
        rows = _split(factored.rows, [group.row_shape for group in self.groups])
        columns = _split(factored.columns, [group.column_shape for group in self.groups])
        return list(zip(rows, columns, strict=True))

    def update(
        self,
        factored: Factored,
        grads: list[jax.Array],
        pages: tuple[jax.Array, ...],
        decays: Float[jax.Array, " decays"],
        max_gradient: float,
    ) -> Factored:
        """The averages after `grads`.

        Args:
            factored: the averages before this update.
            grads: one array per tensor, in the arrangement's order.
            pages: the same gradients, packed.
            decays: of the averages.
            max_gradient: limit to which the absolute values of entries are clipped.
        """
        rows, columns = [], []
        for group, (old_rows, old_columns) in zip(self.groups, self.vectors(factored), strict=True):
            stacked = jnp.stack(grads[group.begin : group.end])
            squares = jnp.square(clean([stacked], max_gradient)[0]) + SQUARE_FLOOR
            rows.append(average(old_rows, jnp.mean(squares, axis=group.longest), decays))
            columns.append(average(old_columns, jnp.mean(squares, axis=group.second), decays))
        unfactored = factored.unfactored
        if self.num_unfactored:
            [grad] = clean([pages[0][: self.num_unfactored_pages]], max_gradient)
            unfactored = average(unfactored, jnp.square(grad) + SQUARE_FLOOR, decays)
        return Factored(_join(rows, len(decays)), _join(columns, len(decays)), unfactored)

    def expand(self, combine: Combine, vectors: Vectors, unfactored: jax.Array, padding: float) -> list[Expanded]:
        """`Part.expand` of all parts, from the groups' vectors."""
        of_group = dict(zip(self.groups, vectors, strict=True))
        firsts = [unfactored[:, : 0 if part.by_rows else None] for part in self.parts]
        if not self.num_unfactored:
            firsts = [jnp.zeros((unfactored.shape[0], 0, part.layout.page_size)) for part in self.parts]
        return [
            part.expand(combine, [of_group[group] for group in part.groups], first, padding)
            for part, first in zip(self.parts, firsts, strict=True)
        ]


def _row_widths(shapes: tuple[tuple[int, ...], ...]) -> dict[tuple[int, ...], int]:
    """Page width that divides the rows, by shape; only a few widths, since each needs a loop, which compiles slowly."""
    sizes = collections.Counter()
    for shape in shapes:
        dims = factored_dims(shape)
        if dims is not None and len(shape) - 1 in dims and _width_of_row(shape[-1]) >= MIN_WIDTH:
            sizes[shape] += math.prod(shape)
    classes: list[tuple[int, list[tuple[int, ...]]]] = []
    for shape, _ in sizes.most_common():
        for number, (width, members) in enumerate(classes):
            common = math.gcd(width, shape[-1])
            if common == shape[-1] or common >= MIN_COMMON_WIDTH:
                classes[number] = common, [*members, shape]
                break
        else:
            classes.append((_width_of_row(shape[-1]), [shape]))
    totals = [(sum(sizes[shape] for shape in members), width, members) for width, members in classes]
    large = sorted((total for total in totals if total[0] >= MIN_BY_ROWS), reverse=True)[: MAX_PARTS - 1]
    return {shape: width for _, width, members in large for shape in members}


def _width_of_row(length: int) -> int:
    """The largest divisor of `length` that is at most `MAX_WIDTH`."""
    return next(width for width in range(min(length, MAX_WIDTH), 0, -1) if length % width == 0)


def _split(flat: jax.Array, shapes: list[tuple[int, ...]]) -> list[jax.Array]:
    ends = np.cumsum([0, *map(math.prod, shapes)])
    return [
        flat[:, begin:end].reshape(-1, *shape) for begin, end, shape in zip(ends[:-1], ends[1:], shapes, strict=True)
    ]


def _join(parts: list[jax.Array], depth: int) -> jax.Array:
    return jnp.concatenate([jnp.zeros((depth, 0)), *(part.reshape(depth, -1) for part in parts)], axis=1)
