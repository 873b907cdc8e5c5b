"""Pages: all tensors of a tree in one array of fixed-width rows, each row of one tensor.

One program then serves any number of tensors: neither compile time nor dispatch grows with them.
"""

import dataclasses
import functools
import math

import jax.numpy as jnp
import numpy as np

from velo.shapes import Array, Float

PAGE_SIZE = 128


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where each tensor lies; static. A tensor fills whole pages, the rest of its last page is zero."""

    shapes: tuple[tuple[int, ...], ...]

    @functools.cached_property
    def sizes(self) -> np.ndarray:
        return np.array([math.prod(shape) for shape in self.shapes])

    @functools.cached_property
    def pages_per_tensor(self) -> np.ndarray:
        return -(-self.sizes // PAGE_SIZE)

    @functools.cached_property
    def tensor_of_page(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.shapes)), self.pages_per_tensor)

    @functools.cached_property
    def occupied(self) -> np.ndarray:
        """1 where a parameter lies and 0 in the rest, shape (pages, PAGE_SIZE)."""
        pieces = []
        for size, pages in zip(self.sizes, self.pages_per_tensor, strict=True):
            pieces += [np.ones(size, np.float32), np.zeros(pages * PAGE_SIZE - size, np.float32)]
        return np.concatenate([*pieces, np.zeros(0, np.float32)]).reshape(-1, PAGE_SIZE)

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
        """Sums over the pages of each tensor, as one small matrix product."""
        membership = (self.tensor_of_page[None] == np.arange(len(self.shapes))[:, None]).astype(np.float32)
        return jnp.tensordot(membership, per_page, axes=1)
