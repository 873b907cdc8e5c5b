"""Rotations of matrices by bases, and the refresh that brings the bases closer to the eigenvectors of their factors."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from velo.architectures.pages import Layout
from velo.architectures.velo import features
from velo.architectures.velo.conditional import when
from velo.architectures.velo.matrices import Group, Plan
from velo.shapes import Array, Bool, Float, Int

KEEP, FIRST, REFRESH = 0.0, 1.0, 2.0
"""Phases: what happens to the bases at a step."""
TINY = 1e-30

Matrices = Float[Array, "_ _ _"]
"""[matrices, rows, columns] of a group."""
Stacks = tuple[Float[Array, "_ _ _"], ...]
"""[bases, side, side] for each size of a side."""


class Turned(NamedTuple):
    """The arrays in the coordinates of the basis, which a refresh rotates."""

    pages: tuple[Float[Array, "pages width"], ...]
    grads: list[Matrices]


def rotate(plan: Plan, bases: Stacks, matrices: list[Matrices]) -> list[Matrices]:
    """Q_L^T X Q_R for every matrix X, where Q are bases or turns U."""
    return [_multiply(group, bases, x, transposed=True) for group, x in zip(plan.groups, matrices, strict=True)]


def rotate_back(plan: Plan, bases: Stacks, matrices: list[Matrices]) -> list[Matrices]:
    """Q_L X Q_R^T, the inverse of `rotate`."""
    return [_multiply(group, bases, x, transposed=False) for group, x in zip(plan.groups, matrices, strict=True)]


def _multiply(group: Group, bases: Stacks, x: Matrices, *, transposed: bool) -> Matrices:
    left, right = (_bases(bases, side) for side in group.sides)
    if left is not None:
        x = jnp.einsum("kia,kij->kaj" if transposed else "kai,kij->kaj", left, x)
    if right is not None:
        x = jnp.einsum("kij,kja->kia" if transposed else "kij,kaj->kia", x, right)
    return x


def _bases(stacks: Stacks, side) -> Array | None:
    return None if side is None else stacks[side.index][side.start : side.start + side.count]


def phase(step: Int[Array, ""], every: int) -> Float[Array, ""]:
    """What happens to the bases at this step: `KEEP`, `FIRST` at step 0, or `REFRESH` every `every` steps."""
    return jnp.where(step == 0, FIRST, jnp.where(step % every == 0, REFRESH, KEEP))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def refresh(layout: Layout, plan: Plan, phase, vectors: Stacks, factors: Stacks, of_factors, turned: Turned):
    """(vectors, factors, of_factors, turned), unchanged if the phase is `KEEP`.

    Otherwise the bases are brought closer to the eigenvectors of their factors, `of_factors` becomes the statistics of
    the factors before that, and `turned` is rotated into the new bases.
    """

    def function(operands):
        phase, vectors, factors, _, turned = operands
        of_factors = factor_statistics(plan, factors, phase == REFRESH)
        turns = tuple(_turn(phase, factor) for factor in factors)
        turned = _turn_all(layout, plan, turns, turned)
        factors = tuple(jnp.swapaxes(u, -1, -2) @ a @ u for u, a in zip(turns, factors, strict=True))
        vectors = tuple(_orthonormal(q @ u) for q, u in zip(vectors, turns, strict=True))
        return phase, vectors, factors, of_factors, turned

    _, *refreshed = when(phase != KEEP, function, (phase, vectors, factors, of_factors, turned))
    return tuple(refreshed)


@refresh.defjvp
def _refresh_jvp(layout, plan, primals, tangents):
    """The bases count as constants; the derivative of `turned` is that of its rotation."""
    _, vectors, _, _, turned_before = primals
    *_, moved = tangents
    new_vectors, factors, of_factors, turned = refresh(layout, plan, *primals)
    turns = tuple(jnp.swapaxes(old, -1, -2) @ new for old, new in zip(vectors, new_vectors, strict=True))
    constants = (new_vectors, factors, of_factors)
    _, moved = jax.jvp(functools.partial(_turn_all, layout, plan, turns), (turned_before,), (moved,))
    return (*constants, turned), (*jax.tree.map(jnp.zeros_like, constants), moved)


def _turn_all(layout: Layout, plan: Plan, turns: Stacks, turned: Turned) -> Turned:
    def turn_pages(pages):
        leaves = layout.unpack(pages)
        return layout.pack(plan.store(rotate(plan, turns, plan.load(leaves)), leaves))

    return Turned(tuple(turn_pages(pages) for pages in turned.pages), rotate(plan, turns, turned.grads))


def _turn(phase: Float[Array, ""], factor: Float[Array, "bases side side"]) -> Float[Array, "bases side side"]:
    """The turn U: at the first step the eigenvectors of the factor, later one step of orthogonal iteration, which keeps
    the order of coordinates. The identity where that isn't finite.
    """

    def first(operands):
        factor, _ = operands
        return factor, jax.lax.platform_dependent(factor, cpu=jax.vmap(_eigenvectors), default=_batched_eigenvectors)

    def later(operands):
        factor, _ = operands
        return factor, _qr(factor)

    units = jnp.broadcast_to(jnp.eye(factor.shape[-1], dtype=factor.dtype), factor.shape)
    _, turn = when(phase == FIRST, first, (factor, units))
    _, turn = when(phase == REFRESH, later, (factor, turn))
    usable = jnp.all(jnp.isfinite(turn), axis=(-1, -2), keepdims=True)
    return jnp.where(usable, turn, units)


def _qr(matrices: Float[Array, "bases side side"]) -> Float[Array, "bases side side"]:
    """The orthogonal factor of the QR decomposition with a non-negative diagonal of the other factor, so that no
    coordinate changes its sign.
    """
    q, r = jax.lax.platform_dependent(matrices, cpu=_lapack, default=_householder)
    diagonal = jnp.diagonal(r, axis1=-2, axis2=-1)
    return q * jnp.where(diagonal < 0, -1.0, 1.0)[..., None, :]


# LAPACK gets one matrix per call: a batch is divided among the threads of the pool that the call itself runs in, and
# two such calls can deadlock (jaxlib 0.10).


@jax.custom_batching.sequential_vmap
def _eigenvectors(matrix: Float[Array, "side side"]) -> Float[Array, "side side"]:
    return _signed(jnp.linalg.eigh(matrix)[1][:, ::-1])


def _batched_eigenvectors(matrices: Float[Array, "bases side side"]) -> Float[Array, "bases side side"]:
    return jax.vmap(_signed)(jnp.linalg.eigh(matrices)[1][..., ::-1])


def _signed(vectors: Float[Array, "side side"]) -> Float[Array, "side side"]:
    """Chooses each vector's sign so that its largest entry is positive: the same on every machine."""
    largest = jnp.take_along_axis(vectors, jnp.argmax(jnp.abs(vectors), axis=0)[None], axis=0)
    return vectors * jnp.where(largest < 0, -1.0, 1.0)


@jax.custom_batching.sequential_vmap
def _one_qr(matrix: Float[Array, "side side"]) -> tuple[Array, Array]:
    q, r = jnp.linalg.qr(matrix)
    return q, r


def _lapack(matrices: Float[Array, "bases side side"]) -> tuple[Array, Array]:
    return jax.vmap(_one_qr)(matrices)


def _householder(matrices: Float[Array, "bases side side"]) -> tuple[Array, Array]:
    """QR in matrix-vector products, all matrices at once; on a GPU, `_lapack` would process one matrix after
    the other.
    """
    size = matrices.shape[-1]
    rows = jnp.arange(size)

    def column(index, carry):
        q, r = carry
        x = jnp.where(rows >= index, jax.lax.dynamic_index_in_dim(r, index, -1, keepdims=False), 0.0)
        norm = jnp.linalg.norm(x, axis=-1, keepdims=True)
        pivot = jax.lax.dynamic_index_in_dim(x, index, -1)
        v = x + jnp.where(rows == index, jnp.where(pivot < 0, -norm, norm), 0.0)
        square = jnp.sum(v * v, axis=-1)[..., None, None]
        scale = jnp.where(square > TINY, 2.0 / jnp.where(square > TINY, square, 1.0), 0.0)
        r = r - scale * v[..., :, None] * jnp.einsum("ki,kij->kj", v, r)[..., None, :]
        q = q - scale * jnp.einsum("kij,kj->ki", q, v)[..., :, None] * v[..., None, :]
        return q, r

    largest = jnp.max(jnp.abs(matrices), axis=(-1, -2), keepdims=True)
    units = jnp.broadcast_to(jnp.eye(size, dtype=matrices.dtype), matrices.shape)
    return jax.lax.fori_loop(0, size, column, (units, matrices / jnp.where(largest > 0, largest, 1.0)))


def _orthonormal(q: Float[Array, "bases side side"]) -> Float[Array, "bases side side"]:
    """One step of Newton-Schulz, so that rounding doesn't add up over many turns."""
    return 1.5 * q - 0.5 * q @ (jnp.swapaxes(q, -1, -2) @ q)


def factor_statistics(plan: Plan, factors: Stacks, is_turned: Bool[Array, ""]) -> Float[Array, "tensors statistics"]:
    """Statistics of each tensor's factors, averaged over its matrices; zeros for tensors without factors.

    Columns: `features.log_ratio` of the effective rank of the left and of the right factor (squared trace over the sum
    of squared eigenvalues) to the side; the share of the factors' squares off the diagonal, which the refresh reduces.
    The last is zero unless `is_turned`, since the first refresh finds factors that are not in an eigenbasis yet.
    """
    shares = []
    for factor in factors:
        factor = factor / (jnp.max(jnp.abs(factor), axis=(-1, -2), keepdims=True) + TINY)
        diagonal = jnp.diagonal(factor, axis1=-2, axis2=-1)
        squares = jnp.sum(jnp.square(factor), axis=(-1, -2))
        rank = features.log_ratio(jnp.square(jnp.sum(diagonal, axis=-1)), squares * factor.shape[-1])
        off = 1.0 - jnp.sum(jnp.square(diagonal), axis=-1) / (squares + TINY)
        shares.append((rank, jnp.where(is_turned, off, 0.0)))
    columns: list[list[Array]] = [[], [], []]
    for group in plan.groups:
        count = sum(group.counts)
        off = jnp.zeros(count)
        for number, side in enumerate(group.sides):
            rank = jnp.zeros(count)
            if side is not None:
                rank, own = (column[side.start : side.start + side.count] for column in shares[side.index])
                off = off + own / sum(other is not None for other in group.sides)
            columns[number].append(rank / _per_matrix(plan, group))
        columns[2].append(off / _per_matrix(plan, group))
    return jnp.stack([plan.by_tensor(column) for column in columns], axis=1)


def _per_matrix(plan: Plan, group: Group) -> Array:
    """For each matrix, the number of matrices of its tensor."""
    counts = [float(count) for count in group.counts for _ in range(count)]
    return jnp.asarray(counts, jnp.float32)
