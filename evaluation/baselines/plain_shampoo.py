"""Shampoo (1802.09568) without grafting, in the form for which 2312.12226 works out the scaling with the width."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from evaluation.baselines import kronecker
from evaluation.baselines.kronecker import Damping, Sides

DECAY, FREQUENCY = 0.95, 10
"""Decay of the factors' moving averages; number of steps from one computation of the roots to the next."""
TINY = 1e-30
"""Least damping; it makes the factors of a tensor without any gradient invertible."""


class PlainShampooState(NamedTuple):
    factors: Any  # a list of `Sides`, one entry a leaf; moving averages from zero
    roots: Any
    count: jax.Array


def scale_by_plain_shampoo(
    damping: Damping, *, decay: float = DECAY, frequency: int = FREQUENCY, max_side: int = kronecker.MAX_SIDE
) -> optax.GradientTransformation:
    """Shampoo's direction. For a matrix G of m x n at step t from 1:

        L <- decay L + (1 - decay) G G^T,  R <- decay R + (1 - decay) G^T G
        step = (L / (1 - decay^t) + rho_L I)^(-1/4) G (R / (1 - decay^t) + rho_R I)^(-1/4)

    Vectors have one factor and the exponent -1/2; scalars keep their gradient. Tensors of more than two axes are folded
    into matrices (`kronecker.fold`). The roots are computed at steps 1, 1 + frequency, ...

    Deviation: the paper sums the factors, and damps by a constant. The moving averages are those of 2309.06497.

    Args:
        damping: gives rho of a debiased factor.
        decay: in [0, 1).
        max_side: longest side that gets a factor; a longer one is left as it is, and the exponents don't change.
    """

    def init(params):
        leaves = [kronecker.fold(jnp.shape(leaf)) for leaf in jax.tree.leaves(params)]
        zeros = jax.tree.map(jnp.zeros_like, [kronecker.identities(shape, max_side) for shape in leaves])
        return PlainShampooState(zeros, zeros, jnp.zeros((), jnp.int32))

    def update(updates, state, params=None):
        del params
        leaves, treedef = jax.tree.flatten(updates)
        grads = [leaf.astype(jnp.float32).reshape(kronecker.fold(leaf.shape)) for leaf in leaves]
        factors = [
            kronecker.average(sides, grad, decay) for sides, grad in zip(state.factors, grads, strict=True)
        ]  # fmt: skip
        debias = 1.0 - decay ** (state.count + 1)
        roots = jax.lax.cond(
            state.count % frequency == 0,
            lambda: [_roots(sides, debias, damping) for sides in factors],
            lambda: state.roots,
        )
        steps = [
            kronecker.multiply(sides, grad).reshape(leaf.shape).astype(leaf.dtype)
            for sides, grad, leaf in zip(roots, grads, leaves, strict=True)
        ]
        return treedef.unflatten(steps), PlainShampooState(factors, roots, state.count + 1)

    return optax.GradientTransformation(init, update)


def plain_shampoo(learning_rate: Any, *, damping: Damping, momentum=0.9) -> optax.GradientTransformation:
    """Shampoo with momentum.

    Args:
        learning_rate: a number, or a function of the number of steps taken.
    """
    return optax.chain(
        scale_by_plain_shampoo(damping), optax.trace(momentum), optax.scale_by_learning_rate(learning_rate)
    )


def _roots(factors: Sides, debias: Any, damping: Damping) -> Sides:
    power = -1.0 / (2.0 * max(len(factors), 1))
    return tuple(None if factor is None else _root(factor / debias, power, damping) for factor in factors)


def _root(matrix: jax.Array, power: float, damping: Damping) -> jax.Array:
    """The damped symmetric matrix to a negative power; negative eigenvalues come from rounding and count as 0."""
    values, vectors = jnp.linalg.eigh(matrix)
    damped = jnp.maximum(values, 0.0) + jnp.maximum(damping(matrix), TINY)
    return (vectors * (damped**power)[None, :]) @ vectors.T
