"""Pages: all tensors of a tree in one array of fixed-width rows, each row of one tensor.

One program then serves any number of tensors: neither compile time nor dispatch grows with them.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from velo.shapes import Array, Bool, Float

PAGE_SIZE = 128
MAX_MEMBERSHIP = 1 << 16
"""Entries of the tensor-by-page matrix above which sums go by segments."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where each tensor lies; static. A tensor fills whole pages, the rest of its last page is zero."""

    shapes: tuple[tuple[int, ...], ...]

    @functools.cached_property
    def sizes(self) -> np.ndarray:
        return np.array([math.prod(shape) for shape in self.shapes], np.int64)

    @functools.cached_property
    def pages_per_tensor(self) -> np.ndarray:
        return -(-self.sizes // PAGE_SIZE)

    @functools.cached_property
    def tensor_of_page(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.shapes)), self.pages_per_tensor)

    @property
    def occupied(self) -> Bool[Array, "pages width"]:
        """True where a parameter lies; computed, since a stored mask would be as large as the parameters."""
        first = np.repeat(np.cumsum(self.pages_per_tensor) - self.pages_per_tensor, self.pages_per_tensor)
        page = np.arange(len(self.tensor_of_page)) - first
        left = np.minimum(self.sizes[self.tensor_of_page] - page * PAGE_SIZE, PAGE_SIZE)
        return jnp.arange(PAGE_SIZE)[None] < jnp.asarray(left)[:, None]

    def pack(self, leaves: list[Array]) -> Float[Array, "pages width"]:
        pieces = [jnp.zeros(0, jnp.float32)]
        for leaf, size, pages in zip(leaves, self.sizes, self.pages_per_tensor, strict=True):
            pieces.append(leaf.astype(jnp.float32).reshape(-1))
            if pages * PAGE_SIZE > size:
                pieces.append(jnp.zeros(pages * PAGE_SIZE - size, jnp.float32))
        return jnp.concatenate(pieces).reshape(-1, PAGE_SIZE)

    def unpack(self, pages: Float[Array, "pages width"]) -> list[Array]:
        flat = pages.reshape(-1)
        starts = np.cumsum(self.pages_per_tensor) * PAGE_SIZE - self.pages_per_tensor * PAGE_SIZE
        return [
            flat[start : start + size].reshape(shape)
            for start, size, shape in zip(starts, self.sizes, self.shapes, strict=True)
        ]

    def sum_by_tensor(self, per_page: Float[Array, "pages ..."]) -> Float[Array, "tensors ..."]:
        """Sums over each tensor's pages: one small matrix product, or sorted segments where that would be large."""
        num_tensors = len(self.shapes)
        if num_tensors * len(self.tensor_of_page) > MAX_MEMBERSHIP:
            return jax.ops.segment_sum(per_page, self.tensor_of_page, num_tensors, indices_are_sorted=True)
        membership = (self.tensor_of_page[None] == np.arange(num_tensors)[:, None]).astype(np.float32)
        return jnp.tensordot(membership, per_page, axes=1)
