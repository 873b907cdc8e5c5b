"""SOAP (2409.11321): Adam in the eigenbasis of Shampoo's factors."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from evaluation.baselines import kronecker
from evaluation.baselines.kronecker import Sides

RIDGE = 1e-30
"""Added to the diagonal before the first decomposition, as in the authors' code."""


class SoapState(NamedTuple):
    """Moments, factors, bases, and the number of gradients seen."""

    mean: Any  # m; like v, of the shape of the parameter and in the bases of this state
    square: Any  # v
    factors: Any  # a list of `Sides`, one for each leaf; empty for leaves of fewer than two axes
    bases: Any
    count: jax.Array  # the moments lack the first gradient


def scale_by_soap(
    *,
    b1=0.95,
    b2=0.95,
    shampoo_beta=None,
    eps=1e-8,
    precondition_frequency: int = 10,
    max_side: int = kronecker.MAX_SIDE,
) -> optax.GradientTransformation:
    """Algorithm 3 in the order of the authors' code. For a matrix G of m x n:

        G' = Q_L^T G Q_R,  m <- b1 m + (1 - b1) G',  v <- b2 v + (1 - b2) G'^2
        step = sqrt(1 - b2^t) / (1 - b1^t) Q_L [m / (sqrt v + eps)] Q_R^T
        L <- beta L + (1 - beta) G G^T,  R <- beta R + (1 - beta) G^T G

    The first gradient makes no step, as in the authors' code: it gives the factors and, by `eigh`, their bases. So no
    gradient is ever seen in a basis that it has shaped itself. t counts the gradients after it.

    Every `precondition_frequency` steps one power iteration updates each basis: Q <- qr(L Q), with the columns of Q
    sorted by the diagonal of Q^T L Q. v is sorted in the same order, and m is turned from the old basis into the new
    one.

    Vectors and scalars get plain Adam, without a first step too. A side above `max_side` isn't turned; the other side
    is.

    Deviation: a tensor of more than two axes is folded into a matrix (`kronecker.fold`). The authors' code turns each
    axis by a basis of its own.

    The bases are refreshed under a `lax.switch` on the counter. Under `vmap` it stays a conditional only if all lanes
    share the counter. Lanes with counters of their own compute all branches at every step, for the same result.

    Args:
        shampoo_beta: beta, the decay of the factors; None takes `b2`.
        max_side: longest side that is turned.
    """
    shampoo_beta = b2 if shampoo_beta is None else shampoo_beta

    def init(params):
        leaves = jax.tree.leaves(params)
        bases = [_identities(leaf, max_side) for leaf in leaves]
        zeros = jax.tree.map(lambda leaf: jnp.zeros(jnp.shape(leaf), jnp.float32), params)
        return SoapState(zeros, zeros, jax.tree.map(jnp.zeros_like, bases), bases, jnp.zeros((), jnp.int32))

    def update(updates, state, params=None):
        del params
        leaves, treedef = jax.tree.flatten(updates)
        grads = [_folded(leaf) for leaf in leaves]
        means = [_folded(leaf) for leaf in jax.tree.leaves(state.mean)]
        squares = [_folded(leaf) for leaf in jax.tree.leaves(state.square)]
        num_moments = state.count  # with this gradient, without the first one
        first = num_moments == 0  # it leaves the moments, and so the step, at zero
        decay1, decay2 = jnp.where(first, 1.0, b1), jnp.where(first, 1.0, b2)
        safe_count = jnp.maximum(num_moments, 1)
        scale = jnp.sqrt(1.0 - b2**safe_count) / (1.0 - b1**safe_count)
        steps = []
        for index, (grad, bases) in enumerate(zip(grads, state.bases, strict=True)):
            turned = kronecker.multiply(kronecker.transpose(bases), grad)
            means[index] = decay1 * means[index] + (1.0 - decay1) * turned
            squares[index] = decay2 * squares[index] + (1.0 - decay2) * jnp.square(turned)
            steps.append(kronecker.multiply(bases, scale * means[index] / (jnp.sqrt(squares[index]) + eps)))
        factors = [
            kronecker.average(sides, grad, shampoo_beta) for sides, grad in zip(state.factors, grads, strict=True)
        ]
        due = jnp.where(num_moments % precondition_frequency == 0, 1, 0)
        means, squares, bases = jax.lax.switch(
            jnp.where(first, 2, due), (_keep, _iterate, _decompose), factors, means, squares, state.bases
        )
        new_state = SoapState(
            _unfolded(means, state.mean), _unfolded(squares, state.square), factors, bases, state.count + 1
        )
        steps = [step.reshape(leaf.shape).astype(leaf.dtype) for step, leaf in zip(steps, leaves, strict=True)]
        return treedef.unflatten(steps), new_state

    return optax.GradientTransformation(init, update)


def soap(learning_rate: Any, *, weight_decay=1e-4, **settings: Any) -> optax.GradientTransformation:
    """SOAP with decoupled weight decay.

    Deviation: as in optax, the weight decay is part of the step, so it acts at the first step too. The authors' code
    applies it to the parameters after the step. The default is that of `optax.adamw`; theirs is 0.01.

    Args:
        learning_rate: a number, or a function of the number of steps taken.
        settings: keyword arguments of `scale_by_soap`.
    """
    return optax.chain(
        scale_by_soap(**settings),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )


def _identities(leaf: Any, max_side: int) -> Sides:
    shape = kronecker.fold(jnp.shape(leaf))
    return kronecker.identities(shape, max_side) if len(shape) == 2 else ()


def _folded(leaf: jax.Array) -> jax.Array:
    return jnp.reshape(leaf, kronecker.fold(jnp.shape(leaf))).astype(jnp.float32)


def _unfolded(tensors: Sequence[jax.Array], like: Any) -> Any:
    leaves, treedef = jax.tree.flatten(like)
    return treedef.unflatten([tensor.reshape(leaf.shape) for tensor, leaf in zip(tensors, leaves, strict=True)])


def _keep(factors, means, squares, bases):
    del factors
    return means, squares, bases


def _decompose(factors, means, squares, bases):
    """The eigenbases of the first gradient's factors; the moments are still zero."""
    del bases
    return means, squares, [tuple(None if side is None else _eigenbasis(side) for side in sides) for sides in factors]


def _eigenbasis(factor: jax.Array) -> jax.Array:
    """Eigenvectors as columns, in the order of falling eigenvalues."""
    return jnp.linalg.eigh(factor + RIDGE * jnp.eye(len(factor), dtype=factor.dtype))[1][:, ::-1]


def _iterate(factors, means, squares, bases):
    """One power iteration of all bases; moves the moments into the new bases."""
    turned = [_turn(*leaf) for leaf in zip(factors, means, squares, bases, strict=True)]
    return [leaf[0] for leaf in turned], [leaf[1] for leaf in turned], [leaf[2] for leaf in turned]


def _turn(factors: Sides, mean: jax.Array, square: jax.Array, bases: Sides) -> tuple[jax.Array, jax.Array, Sides]:
    """(m in the new bases, v in the order of their columns, the new bases) of one leaf."""
    straight = kronecker.multiply(bases, mean)
    new = []
    for axis, (factor, basis) in enumerate(zip(factors, bases, strict=True)):
        if factor is None or basis is None:
            new.append(None)
            continue
        product = factor @ basis
        order = jnp.argsort(-jnp.sum(basis * product, axis=0))
        square = jnp.take(square, order, axis=axis)
        # A factor without full rank does no harm: Householder's QR gives an orthogonal matrix for any argument.
        new.append(jnp.linalg.qr(product[:, order])[0])
    return kronecker.multiply(kronecker.transpose(tuple(new)), straight), square, tuple(new)
