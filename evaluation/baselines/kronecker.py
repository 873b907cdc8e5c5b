"""Folds tensors into matrices, and computes and applies the Kronecker factors of their gradients."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

MAX_SIDE = 1024
"""Longest side that gets a factor, as in Distributed Shampoo (2309.06497).

Deviation: the limit in SOAP's code is 10,000. A table of 6,144 tokens would then take a dense eigenbasis of 6,144 x
6,144.
"""

Sides = tuple[jax.Array | None, ...]
"""A square matrix for each axis of a folded tensor; None for an axis without one."""
Damping = Callable[[jax.Array], Any]
"""Factor -> rho, the scalar that is added to its diagonal before its inverse or inverse root is taken."""


def relative_damping(share) -> Damping:
    """rho = share * trace(factor): the rescaled damping of 2312.12226, for which one share is right at every width."""
    return lambda factor: share * jnp.trace(factor)


def constant_damping(ridge) -> Damping:
    """The same rho for all factors, as in most implementations."""
    return lambda factor: ridge


def fold(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape, of at most two axes, in which a tensor is preconditioned.

    A tensor of more than two axes becomes a matrix: all axes but the last are merged. A convolution's kernel (height,
    width, in, out) is then that of the dense layer that acts on the patches.
    """
    return tuple(shape) if len(shape) <= 2 else (math.prod(shape[:-1]), shape[-1])


def identities(shape: tuple[int, ...], max_side: int) -> Sides:
    """An identity matrix for each side of a folded shape, in float32; None for sides above `max_side`."""
    return tuple(jnp.eye(side, dtype=jnp.float32) if side <= max_side else None for side in shape)


def average(factors: Sides, tensor: jax.Array, decay) -> Sides:
    """Updates the factors: moving averages of the tensor contracted with itself over all axes but the factor's own.

    For a matrix G: L <- decay L + (1 - decay) G G^T and R <- decay R + (1 - decay) G^T G.
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
    """A G B^T for a matrix G and the matrices (A, B); None stands for the identity."""
    for axis, matrix in enumerate(matrices):
        if matrix is not None:
            tensor = jnp.moveaxis(jnp.tensordot(matrix, tensor, axes=(1, axis)), 0, axis)
    return tensor


def transpose(matrices: Sides) -> Sides:
    """The transposed matrices."""
    return tuple(None if matrix is None else matrix.T for matrix in matrices)
