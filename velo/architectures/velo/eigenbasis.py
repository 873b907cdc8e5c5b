"""The coordinates that VeLO works in: the eigenbases of the Kronecker factors of each matrix's gradients.

For the gradient G of a matrix (`velo.architectures.velo.matrices` says which tensors are matrices) and C = Q_L^T G Q_R:

    A_L <- .9 A_L + .1 C C^T,   A_R <- .9 A_R + .1 C^T C
    every few steps: U = qr(A) (eigh at the first step), Q <- Q U, A <- U^T A U, and every average turned along

Adam's direction in these coordinates is SOAP (2409.11321). There the factors live in the original coordinates and
Q <- qr(A Q), which is the same: A Q = Q (Q^T A Q). Beside it stand Adam's averages in the original coordinates: for
the distance estimate, and for the direction that the hypernetwork can fall back to.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from velo.architectures.pages import Layout
from velo.architectures.velo import features
from velo.architectures.velo.conditional import when
from velo.architectures.velo.matrices import Group, Plan
from velo.architectures.velo.passes import Tree, clean
from velo.shapes import Array, Bool, Float, Int

FACTOR_DECAY = 0.9
MOMENTUM_DECAY = 0.9
SECOND_MOMENT_DECAY = 0.999
"""Decay of the second moment in the original coordinates."""
NUM_FACTOR_STATISTICS = 3
ROUNDING = 2.0**-21
"""Entries of a rotated matrix below this share of its norm are rounding."""
TINY = 1e-30

Matrices = Float[Array, "_ _ _"]
"""[matrices, rows, columns] of a group."""
Stacks = tuple[Float[Array, "_ _ _"], ...]
"""[bases, side, side] for each size of a side."""


class Original(NamedTuple):
    """Averages of all tensors' gradients in the original coordinates, weighted as those of `passes.Averages`."""

    momentum: Float[Array, "pages width"]
    second_moment: Float[Array, "pages width"]
    gradient_sum: Float[Array, "pages width"]


class State(NamedTuple):
    """The bases, their factors, and the averages in the original coordinates."""

    vectors: Stacks  # Q: a coordinate a column
    factors: Stacks  # A, in the coordinates of Q
    of_factors: Float[Array, "tensors statistics"]  # `factor_statistics` of the latest refresh
    original: Original
    alignment: Float[Array, " tensors"]  # cosine of the latest step and Adam's in the original coordinates


class Turned(NamedTuple):
    """The arrays in the coordinates of the basis, which turn with it."""

    pages: tuple[Float[Array, "pages width"], ...]
    grads: list[Matrices]


def init(layout: Layout, plan: Plan) -> State:
    """Bases of unit vectors, and averages of zero."""
    return State(
        vectors=tuple(jnp.tile(jnp.eye(size, dtype=jnp.float32)[None], (count, 1, 1)) for count, size in plan.stacks),
        factors=tuple(jnp.zeros((count, size, size)) for count, size in plan.stacks),
        of_factors=jnp.zeros((len(plan.views), NUM_FACTOR_STATISTICS)),
        original=Original(layout.zeros(), layout.zeros(), layout.zeros()),
        alignment=jnp.zeros(len(plan.views)),
    )


def rotate(plan: Plan, bases: Stacks, matrices: list[Matrices]) -> list[Matrices]:
    """Q_L^T X Q_R for every matrix X, of bases Q or turns U."""
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


def denoise(grads: list[Matrices]) -> list[Matrices]:
    """Zeroes entries that are rounding of the rotation.

    Adam would divide such an entry by its own size, and so move parameters that have no gradient.
    """

    def one(x):
        norm = jnp.sqrt(jnp.sum(jnp.square(jax.lax.stop_gradient(x)), axis=(1, 2), keepdims=True))
        return jnp.where(jnp.abs(x) > ROUNDING * norm, x, 0.0)

    return [one(x) for x in grads]


def update_factors(plan: Plan, factors: Stacks, grads: list[Matrices], weight: Float[Array, ""]) -> Stacks:
    """The factors after these rotated gradients, each times `weight`; a factor that overflows is set to zero."""
    products: list[list[Array]] = [[] for _ in factors]
    for group, x in zip(plan.groups, grads, strict=True):
        x = weight * x
        for side, equation in zip(group.sides, ("kij,klj->kil", "kij,kil->kjl"), strict=True):
            if side is not None:
                products[side.index].append(jnp.einsum(equation, x, x))
    updated = []
    for old, new in zip(factors, products, strict=True):
        mean = FACTOR_DECAY * old + (1.0 - FACTOR_DECAY) * jnp.concatenate(new)
        updated.append(jnp.where(jnp.isfinite(mean), mean, 0.0))
    return tuple(updated)


def refresh(
    layout: Layout, plan: Plan, every: int, step: Int[Array, ""], state: State, turned: Turned
) -> tuple[State, Turned]:
    """Every `every` steps, from the first on: brings the bases closer to the eigenvectors, and turns `turned` along."""
    vectors, factors, of_factors, turned = _refresh(
        layout, plan, every, step, state.vectors, state.factors, state.of_factors, turned
    )
    return state._replace(vectors=vectors, factors=factors, of_factors=of_factors), turned


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _refresh(
    layout: Layout, plan: Plan, every: int, step, vectors: Stacks, factors: Stacks, of_factors, turned: Turned
):
    def function(operands):
        step, vectors, factors, _, turned = operands
        of_factors = layout.mean_of_parts(factor_statistics(plan, factors, step > 0))
        turns = tuple(_turn(step, factor) for factor in factors)
        turned = _turn_all(layout, plan, turns, turned)
        factors = tuple(jnp.swapaxes(u, -1, -2) @ a @ u for u, a in zip(turns, factors, strict=True))
        vectors = tuple(_orthonormal(q @ u) for q, u in zip(vectors, turns, strict=True))
        return step, vectors, factors, of_factors, turned

    _, *refreshed = when(step % every == 0, function, (step, vectors, factors, of_factors, turned))
    return tuple(refreshed)


@_refresh.defjvp
def _refresh_jvp(layout, plan, every, primals, tangents):
    """The bases count as constants; the derivative of `turned` is that of turning it."""
    _, vectors, _, _, turned_before = primals
    *_, moved = tangents
    new_vectors, factors, of_factors, turned = _refresh(layout, plan, every, *primals)
    turns = tuple(jnp.swapaxes(old, -1, -2) @ new for old, new in zip(vectors, new_vectors, strict=True))
    constants = (new_vectors, factors, of_factors)
    _, moved = jax.jvp(functools.partial(_turn_all, layout, plan, turns), (turned_before,), (moved,))
    return (*constants, turned), (*jax.tree.map(jnp.zeros_like, constants), moved)


def _turn_all(layout: Layout, plan: Plan, turns: Stacks, turned: Turned) -> Turned:
    def turn_pages(pages):
        leaves = layout.unpack(pages)
        return layout.pack(plan.store(rotate(plan, turns, plan.load(leaves)), leaves))

    return Turned(tuple(turn_pages(pages) for pages in turned.pages), rotate(plan, turns, turned.grads))


def _turn(step: Int[Array, ""], factor: Float[Array, "bases side side"]) -> Float[Array, "bases side side"]:
    """At the first step the eigenvectors of the factor, later one step of the power method, which keeps the order of
    coordinates.
    """

    def first(operands):
        factor, _ = operands
        return factor, jax.lax.platform_dependent(factor, cpu=jax.vmap(_eigenvectors), default=_batched_eigenvectors)

    def later(operands):
        factor, _ = operands
        return factor, _qr(factor)

    units = jnp.broadcast_to(jnp.eye(factor.shape[-1], dtype=factor.dtype), factor.shape)
    _, turn = when(step == 0, first, (factor, units))
    _, turn = when(step > 0, later, (factor, turn))
    usable = jnp.all(jnp.isfinite(turn), axis=(-1, -2), keepdims=True)
    return jnp.where(usable, turn, units)


def _qr(matrices: Float[Array, "bases side side"]) -> Float[Array, "bases side side"]:
    """The orthogonal factor, with signs that make the other factor's diagonal non-negative: no coordinate changes
    its sign.
    """
    q, r = jax.lax.platform_dependent(matrices, cpu=_lapack, default=_householder)
    diagonal = jnp.diagonal(r, axis1=-2, axis2=-1)
    return q * jnp.where(diagonal < 0, -1.0, 1.0)[..., None, :]


# LAPACK gets one matrix a call: a batch is divided among the threads of the pool that the call itself runs in, and two
# such calls can wait for each other for ever (jaxlib 0.10).


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
    """QR in matrix-vector products, all matrices at once; on a GPU, LAPACK's QR would run one matrix after the
    other.
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


def accumulate(
    layout: Layout, state: State, tree: Tree, weight: Float[Array, ""], rate: Float[Array, ""], sum_decay: float
) -> tuple[State, Float[Array, " tensors"], Float[Array, " tensors"]]:
    """The averages in the original coordinates after these gradients.

    Returns:
        state; |s|_1 of each tensor in the original coordinates; <g, x_0 - x> of each tensor, without `weight`.
    """
    old, grad = state.original, clean(layout.pack(tree.grads))
    weighted = weight * grad
    new = Original(
        MOMENTUM_DECAY * old.momentum + (1.0 - MOMENTUM_DECAY) * weighted,
        SECOND_MOMENT_DECAY * old.second_moment + (1.0 - SECOND_MOMENT_DECAY) * jnp.square(weighted),
        sum_decay * old.gradient_sum + rate * weighted,
    )
    summands = (jnp.abs(new.gradient_sum), grad * (tree.initial - layout.pack(tree.params)))
    sums = layout.total(layout.sum_by_tensor(jnp.stack([jnp.sum(summand, axis=1) for summand in summands], axis=1)))
    return state._replace(original=new), sums[:, 0], sums[:, 1]


def factor_statistics(plan: Plan, factors: Stacks, is_turned: Bool[Array, ""]) -> Float[Array, "tensors statistics"]:
    """Statistics of each tensor's factors; zeros for tensors without any.

    Columns: the logarithms of the left and of the right factor's effective rank (squared trace over the sum of squared
    eigenvalues, as a share of the side); the share of the factors' squares off the diagonal, which the refresh reduces,
    or zero where the basis has never been `is_turned`.
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


def statistics(plan: Plan, state: State) -> Float[Array, "tensors statistics"]:
    """What the hypernetwork reads of each tensor's basis; zeros for tensors without one.

    Columns: 1 where there is a basis; those of `factor_statistics` at the latest refresh; the cosine of the latest step
    and Adam's in the original coordinates.
    """
    has_basis = jnp.asarray(plan.turned, jnp.float32)[:, None]
    return jnp.concatenate([has_basis, state.of_factors, state.alignment[:, None]], axis=1)


def _per_matrix(plan: Plan, group: Group) -> Array:
    """For each matrix, the number of matrices of its tensor."""
    counts = [float(count) for count in group.counts for _ in range(count)]
    return jnp.asarray(counts, jnp.float32)


def leave(
    layout: Layout,
    plan: Plan,
    state: State,
    steps: list[Array],
    size: Float[Array, " tensors"],
    epsilon: Float[Array, ""],
) -> tuple[list[Array], State]:
    """(steps in the original coordinates, state): the rotated steps minus `size` times Adam's direction.

    Args:
        steps: one leaf a tensor, in the layout of `Plan.store`.
        size: of the step along Adam's direction in the original coordinates, with its bias correction.
        epsilon: added to the root of the second moment.
    """
    step = layout.pack(plan.scatter(rotate_back(plan, state.vectors, plan.load(steps)), steps))
    old = state.original
    direction = old.momentum / (features.root(old.second_moment) + epsilon)
    products = (step * direction, jnp.square(step), jnp.square(direction))
    sums = layout.total(layout.sum_by_tensor(jnp.stack([jnp.sum(product, axis=1) for product in products], axis=1)))
    cosine = -sums[:, 0] * _inverse_root(sums[:, 1]) * _inverse_root(sums[:, 2])
    mixed = step - size[layout.tensor_of_page][:, None] * direction
    mixed = jnp.where(old.second_moment > 0, mixed, 0.0)  # without a gradient so far there is no step
    return layout.unpack(mixed), state._replace(alignment=jnp.where(plan.turned, cosine, 0.0))


def _inverse_root(square: Float[Array, " n"]) -> Float[Array, " n"]:
    is_positive: Bool[Array, " n"] = square > TINY
    return jnp.where(is_positive, jax.lax.rsqrt(jnp.where(is_positive, square, 1.0)), 0.0)
