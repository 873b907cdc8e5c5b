"""Reads tensors as matrices, and computes and applies the Kronecker factors of their gradients."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

MAX_SIDE = 1024
"""Longest side that gets a factor, as in Distributed Shampoo (2309.06497).

Deviation: SOAP's code says 10,000, with which a table of 6,144 tokens would take a dense eigenbasis of that side.
"""

Sides = tuple[jax.Array | None, ...]
"""A square matrix for each axis of a tensor that was folded; None where an axis has none."""
Damping = Callable[[jax.Array], Any]
"""Factor -> what is added to its diagonal before it is inverted."""


def relative_damping(share) -> Damping:
    """rho = share trace(factor): the rescaled damping of 2312.12226, which is right at every width."""
    return lambda factor: share * jnp.trace(factor)


def constant_damping(ridge) -> Damping:
    """The same rho for all factors: what most implementations have."""
    return lambda factor: ridge


def fold(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of at most two axes under which a tensor is preconditioned.

    A tensor of more than two axes becomes a matrix: the product of all axes but the last, by the last. A convolution's
    kernel (height, width, in, out) is then the dense layer that acts on its patches.
    """
    return tuple(shape) if len(shape) <= 2 else (math.prod(shape[:-1]), shape[-1])


def identities(shape: tuple[int, ...], max_side: int) -> Sides:
    """An identity matrix for each side of a folded shape, in float32; None for sides above `max_side`."""
    return tuple(jnp.eye(side, dtype=jnp.float32) if side <= max_side else None for side in shape)


def average(factors: Sides, tensor: jax.Array, decay) -> Sides:
    """Each factor's moving average of the product of the tensor with itself over all other axes.

    For a matrix these are L <- decay L + (1 - decay) G G^T and R <- decay R + (1 - decay) G^T G.
    """
    found = []
    for axis, factor in enumerate(factors):
        if factor is None:
            found.append(None)
            continue
        others = [other for other in range(tensor.ndim) if other != axis]
        product = jnp.tensordot(tensor, tensor, axes=(others, others))
        found.append(decay * factor + (1.0 - decay) * product)
    return tuple(found)


def multiply(matrices: Sides, tensor: jax.Array) -> jax.Array:
    """A G B^T for a matrix G and the matrices (A, B); sides without a matrix stay as they are."""
    for axis, matrix in enumerate(matrices):
        if matrix is not None:
            tensor = jnp.moveaxis(jnp.tensordot(matrix, tensor, axes=(1, axis)), 0, axis)
    return tensor


def transpose(matrices: Sides) -> Sides:
    """The transposed matrices."""
    return tuple(None if matrix is None else matrix.T for matrix in matrices)
