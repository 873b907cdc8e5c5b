"""Shampoo (1802.09568) with moving averages, roots that are updated rarely, and Adam grafted (2309.06497)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from evaluation.baselines import kronecker
from evaluation.baselines.kronecker import Sides

RELATIVE_RIDGE, RIDGE = 1e-6, 1e-12
"""What is added to the eigenvalues: a share of the largest one, and the absolute damping of 2309.06497."""
TINY = 1e-30


class ShampooState(NamedTuple):
    """Moving averages, factors, their roots, and the number of steps taken."""

    mean: Any
    square: Any  # of the grafted Adam
    factors: Any  # a list of `Sides`, one for each leaf
    roots: Any
    count: jax.Array


def scale_by_shampoo(
    *, b1=0.9, b2=0.999, eps=1e-8, precondition_frequency: int = 10, max_side: int = kronecker.MAX_SIDE
) -> optax.GradientTransformation:
    """Distributed Shampoo's step with Adam grafted. For a matrix G of m x n at step t from 1:

        L <- b2 L + (1 - b2) G G^T,  R <- b2 R + (1 - b2) G^T G
        M <- b1 M + (1 - b1) G,  M' = M / (1 - b1^t)
        P = (L / (1 - b2^t))^(-1/4) M' (R / (1 - b2^t))^(-1/4)
        A = M' / (sqrt(v / (1 - b2^t)) + eps)           with Adam's v
        step = |A| / |P| P

    The exponent is -1 / (2 order): -1/4 a side for matrices, -1/2 for vectors, whose one factor is n x n. Scalars have
    no factor and take Adam's step. Grafting (2002.11803) gives each tensor the norm of Adam's step, so that Adam's
    learning rates carry over.

    The roots are computed every `precondition_frequency` steps; before the first time the steps are Adam's. 1802.09568
    sums the factors. The guide of Distributed Shampoo recommends moving averages with Adam's decays where Adam is
    grafted.

    Deviation: a tensor of more than two axes is folded into a matrix, as in all our preconditioners (`kronecker.fold`).
    The paper gives each axis a factor.

    Deviation: a side above `max_side` gets no factor, and the other one keeps its exponent. A tensor without any factor
    gets the direction of M'. Distributed Shampoo cuts such matrices into blocks.

    Deviation: 1e-6 times the largest eigenvalue is added to the 1e-12 of Distributed Shampoo, as in the code of
    2002.09018: in float32, eigenvalues below 1e-7 of the largest are rounding errors.

    The roots are refreshed under a `lax.cond` on the counter. Under `vmap` it stays a conditional only if all lanes
    share the counter. Lanes with counters of their own compute the roots at every step, for the same result.

    Args:
        max_side: longest side that gets a factor.
    """

    def init(params):
        leaves = jax.tree.leaves(params)
        roots = [kronecker.identities(kronecker.fold(jnp.shape(leaf)), max_side) for leaf in leaves]
        zeros = jax.tree.map(lambda leaf: jnp.zeros(jnp.shape(leaf), jnp.float32), params)
        return ShampooState(zeros, zeros, jax.tree.map(jnp.zeros_like, roots), roots, jnp.zeros((), jnp.int32))

    def update(updates, state, params=None):
        del params
        count = state.count + 1
        grads = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), updates)
        mean = jax.tree.map(lambda m, g: b1 * m + (1.0 - b1) * g, state.mean, grads)
        square = jax.tree.map(lambda v, g: b2 * v + (1.0 - b2) * jnp.square(g), state.square, grads)
        debias1, debias2 = 1.0 - b1**count, 1.0 - b2**count
        factors = [
            kronecker.average(sides, grad.reshape(kronecker.fold(grad.shape)), b2)
            for sides, grad in zip(state.factors, jax.tree.leaves(grads), strict=True)
        ]
        roots = jax.lax.cond(
            count % precondition_frequency == 0,
            lambda: [_roots(sides, debias2) for sides in factors],
            lambda: state.roots,
        )
        steps = []
        leaves, treedef = jax.tree.flatten(updates)
        for m, v, sides in zip(jax.tree.leaves(mean), jax.tree.leaves(square), roots, strict=True):
            adam = m / debias1 / (jnp.sqrt(v / debias2) + eps)
            direction = kronecker.multiply(sides, (m / debias1).reshape(kronecker.fold(m.shape))).reshape(m.shape)
            grafted = _norm(adam) / jnp.maximum(_norm(direction), TINY) * direction
            steps.append(jnp.where(count < precondition_frequency, adam, grafted) if sides else adam)
        steps = [step.astype(leaf.dtype) for step, leaf in zip(steps, leaves, strict=True)]
        return treedef.unflatten(steps), ShampooState(mean, square, factors, roots, count)

    return optax.GradientTransformation(init, update)


def shampoo(learning_rate: Any, *, weight_decay=1e-4, **settings: Any) -> optax.GradientTransformation:
    """Shampoo with decoupled weight decay.

    Args:
        learning_rate: a number, or a function of the number of steps taken.
        settings: keyword arguments of `scale_by_shampoo`.
    """
    return optax.chain(
        scale_by_shampoo(**settings),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )


def _norm(tensor: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.sum(jnp.square(tensor)))


def _roots(factors: Sides, debias) -> Sides:
    power = -1.0 / (2.0 * max(len(factors), 1))
    return tuple(None if factor is None else _root(factor / debias, power) for factor in factors)


def _root(matrix: jax.Array, power: float) -> jax.Array:
    """The damped symmetric matrix to a negative power; negative eigenvalues come from rounding and count as 0."""
    values, vectors = jnp.linalg.eigh(matrix)
    values = jnp.maximum(values, 0.0)
    damped = values + RELATIVE_RIDGE * values[-1] + RIDGE
    return (vectors * (damped**power)[None, :]) @ vectors.T
