"""Runs a function over pages block by block, so that its intermediate results stay in the cache."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

PAGE_AXIS = -2


def map_blocks(function: Callable[[Any, Any], tuple[Any, Any]], num_blocks: int, updated: Any, read: Any):
    """`function(updated, read) -> (updated, out)` over all pages.

    `function` treats every page alone, so the result doesn't depend on the number of blocks. On a CPU the pages are
    processed in `num_blocks` blocks, and `updated` is overwritten in place. On an accelerator all pages are processed
    at once: its kernels are faster on long arrays.

    Args:
        function: the number of its traces doesn't grow with `num_blocks`. The pages are the axis before the last of all
            arrays that it takes and returns.
        num_blocks: number of blocks, a divisor of the number of pages.
        updated: tree of arrays of which `function` returns new versions.
        read: tree of arrays that it reads only.

    Returns:
        The new `updated`, and `out` for all pages.
    """
    if num_blocks == 1 or jax.default_backend() != "cpu":
        return function(updated, read)

    def block(tree, index):
        def take(leaf):
            size = leaf.shape[PAGE_AXIS] // num_blocks
            return jax.lax.dynamic_slice_in_dim(leaf, index * size, size, leaf.ndim + PAGE_AXIS)

        return jax.tree.map(take, tree)

    def put(tree, pieces, index):
        def place(leaf, piece):
            start = index * piece.shape[PAGE_AXIS]
            return jax.lax.dynamic_update_slice_in_dim(leaf, piece, start, leaf.ndim + PAGE_AXIS)

        return jax.tree.map(place, tree, pieces)

    def step(index, carry):
        updated, out = carry
        new, piece = function(block(updated, index), block(read, index))
        return put(updated, new, index), put(out, piece, index)

    _, shapes = jax.eval_shape(function, updated, read)
    out = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return jax.lax.fori_loop(0, num_blocks, step, (updated, out))
