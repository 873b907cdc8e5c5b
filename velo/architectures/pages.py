"""Packs all tensors of a tree into one array of fixed-width pages; a page holds entries of one tensor only.

The same few operations on the pages then update any number of tensors. Only packing and unpacking have operations for
each tensor, and cost more compile time and dispatch with more of them.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from velo.shapes import Array, Bool, Float

PAGE_SIZES = (512, 128)
"""Wide pages make an update faster; narrow ones waste less on small tensors."""
MAX_PADDING = 1 / 64
"""Largest ratio of padding to parameters for which the wide pages are used."""
BLOCK_SIZE = 8192
"""Parameters in a block. An update touches about twenty arrays of this length, which fit a core's cache."""
MAX_MEMBERSHIP = 1 << 16
"""Largest number of entries of the tensor-by-page matrix; above it, sums use `jax.ops.segment_sum`."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where each tensor lies in the pages; static.

    Each tensor fills whole pages, and the rest of its last page is zero. Pages of zeros at the end complete the last
    block; they are assigned to the last tensor.
    """

    shapes: tuple[tuple[int, ...], ...]
    width: int | None = None
    """Parameters in a page; None chooses one of `PAGE_SIZES` by the padding that it needs."""

    def subset(self, tensors: Sequence[int]) -> "Layout":
        """The layout of some of the tensors, in pages of the same width."""
        return dataclasses.replace(self, shapes=tuple(self.shapes[index] for index in tensors), width=self.page_size)

    @functools.cached_property
    def sizes(self) -> np.ndarray:
        """Number of parameters of each tensor."""
        return np.array([math.prod(shape) for shape in self.shapes], np.int64)

    @property
    def whole_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the whole tensors; `shapes` are those of their parts where a device holds only parts."""
        return self.shapes

    @functools.cached_property
    def whole_sizes(self) -> np.ndarray:
        """Number of parameters of each whole tensor."""
        return np.array([math.prod(shape) for shape in self.whole_shapes], np.int64)

    @functools.cached_property
    def page_size(self) -> int:
        """Parameters in a page."""
        if self.width is not None:
            return self.width
        limit = (1.0 + MAX_PADDING) * self.sizes.sum()
        fitting = [size for size in PAGE_SIZES if size * np.sum(-(-self.sizes // size)) <= limit]
        return fitting[0] if fitting else PAGE_SIZES[-1]

    @functools.cached_property
    def pages_per_tensor(self) -> np.ndarray:
        """Number of pages of each tensor."""
        return -(-self.sizes // self.page_size)

    @functools.cached_property
    def first_pages(self) -> np.ndarray:
        """Index of each tensor's first page."""
        return np.cumsum(self.pages_per_tensor) - self.pages_per_tensor

    @functools.cached_property
    def num_blocks(self) -> int:
        """Number of blocks that `map_blocks` processes one after the other."""
        return max(1, -(-int(self.pages_per_tensor.sum()) * self.page_size // BLOCK_SIZE))

    @functools.cached_property
    def num_pages(self) -> int:
        """Number of pages, a multiple of `num_blocks`."""
        return -(-int(self.pages_per_tensor.sum()) // self.num_blocks) * self.num_blocks

    @functools.cached_property
    def tensor_of_page(self) -> np.ndarray:
        """Index of the tensor that each page belongs to."""
        owners = np.repeat(np.arange(len(self.shapes)), self.pages_per_tensor)
        return np.pad(owners, (0, self.num_pages - len(owners)), mode="edge") if len(owners) else owners

    @functools.cached_property
    def filled(self) -> np.ndarray:
        """Number of parameters in each page; they come first in it."""
        place = np.arange(self.num_pages) - self.first_pages[self.tensor_of_page]
        return np.clip(self.sizes[self.tensor_of_page] - place * self.page_size, 0, self.page_size)

    @property
    def occupied(self) -> Bool[Array, "pages width"]:
        """True for entries that hold a parameter, False for padding.

        Computed when it is needed: a stored mask would be as large as the parameters.
        """
        return jnp.arange(self.page_size)[None] < jnp.asarray(self.filled)[:, None]

    def zeros(self) -> Float[Array, "pages width"]:
        """Pages of zeros."""
        return jnp.zeros((self.num_pages, self.page_size))

    def pack(self, leaves: list[Array]) -> Float[Array, "pages width"]:
        """The leaves, in float32, as pages."""
        pieces = []
        for leaf, size, pages in zip(leaves, self.sizes, self.pages_per_tensor, strict=True):
            pieces.append(leaf.astype(jnp.float32).reshape(-1))
            if pages * self.page_size > size:
                pieces.append(jnp.zeros(pages * self.page_size - size, jnp.float32))
        pieces.append(jnp.zeros((self.num_pages - self.pages_per_tensor.sum()) * self.page_size))
        return jnp.concatenate(pieces).reshape(-1, self.page_size)

    def unpack(self, pages: Float[Array, "pages width"]) -> list[Array]:
        """The inverse of `pack`: one array per tensor, in its shape and in float32."""
        starts = self.first_pages
        if jax.default_backend() == "cpu" and pages.size:
            starts = _at_runtime(tuple(int(start) for start in starts), pages[0, 0] > 0)
        rows = [
            jax.lax.dynamic_slice_in_dim(pages, start, int(count))
            for start, count in zip(starts, self.pages_per_tensor, strict=True)
        ]
        return [
            row.reshape(-1)[:size].reshape(shape)
            for row, size, shape in zip(rows, self.sizes, self.shapes, strict=True)
        ]

    def total(self, sums: Float[Array, "tensors ..."]) -> Float[Array, "tensors ..."]:
        """Sums over each whole tensor, from the sums over the part of it in these pages."""
        return sums

    def mean_of_parts(self, means: Float[Array, "tensors ..."]) -> Float[Array, "tensors ..."]:
        """Means over each whole tensor, from the means over the part of it in these pages."""
        return means

    def sum_by_tensor(self, per_page: Float[Array, "pages ..."]) -> Float[Array, "tensors ..."]:
        """Sums over each tensor's pages: by one small matrix product, or by `segment_sum` where the matrix would be
        large.
        """
        num_tensors = len(self.shapes)
        if num_tensors * self.num_pages > MAX_MEMBERSHIP:
            return jax.ops.segment_sum(per_page, self.tensor_of_page, num_tensors, indices_are_sorted=True)
        membership = (self.tensor_of_page[None] == np.arange(num_tensors)[:, None]).astype(np.float32)
        return jnp.tensordot(membership, per_page, axes=1)


def _at_runtime(numbers: tuple[int, ...], either: Bool[Array, ""]) -> list[Array]:
    """`numbers` as values that XLA's CPU compiler doesn't know; `either` has no influence on them.

    The compiler generates a separate kernel for each slice at a constant offset. Slices of one shape at runtime offsets
    share a kernel: 500 tensors compile in 1 CPU-second instead of 13. Under `vmap` the numbers stay constants, since a
    slice whose offset differs by lanes becomes a gather.
    """

    def known():
        return [jnp.int32(number) for number in numbers]

    @jax.custom_batching.custom_vmap
    def choose(either):
        return jax.lax.cond(either, known, lambda: known())

    @choose.def_vmap
    def choose_for_lanes(axis_size, in_batched, either):
        del axis_size, in_batched, either
        return known(), [False] * len(numbers)

    return choose(either)
