"""The coordinates that VeLO works in: the eigenbases of the Kronecker factors of each matrix's gradients.

For the gradient G of a matrix (`velo.architectures.velo.matrices` says which tensors are matrices) and C = Q_L^T G Q_R:

    A_L <- .9 A_L + .1 C C^T,   A_R <- .9 A_R + .1 C^T C
    every few steps: U = qr(A) (eigh at the first step), Q <- Q U, A <- U^T A U

Here qr and eigh stand for their orthogonal factors. U then also rotates the momenta and the gradient sum; the second
moment holds squares, which can't be rotated.

Adam's direction in these coordinates is SOAP (2409.11321). SOAP keeps the factors in the original coordinates and
updates Q <- qr(A Q), which is equivalent: A Q = Q (Q^T A Q). The state also holds averages in the original coordinates:
the gradient sum for the distance estimate, and Adam's two for a direction that the hypernetwork can mix in.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from velo.architectures.pages import Layout
from velo.architectures.velo import features, kernel
from velo.architectures.velo.matrices import Plan
from velo.architectures.velo.passes import MAX_GRADIENT, Averages, Tree, clean
from velo.architectures.velo.turns import TINY, Matrices, Stacks, Turned, refresh, rotate, rotate_back
from velo.shapes import Array, Bool, Float

FACTOR_DECAY = 0.9
MOMENTUM_DECAY = 0.9
SECOND_MOMENT_DECAY = 0.999
"""Decay of the second moment in the original coordinates."""
NUM_FACTOR_STATISTICS = 3
ROUNDING = 2.0**-21
"""Entries of a rotated matrix below this share of its norm are rounding errors."""


class Original(NamedTuple):
    """Averages of the gradients in the original coordinates, weighted as those of `passes.Averages`; only of tensors
    that have a basis, in the layout of `layout_of_original`.
    """

    momentum: Float[Array, "pages width"]
    second_moment: Float[Array, "pages width"]
    gradient_sum: Float[Array, "pages width"]


class State(NamedTuple):
    """The bases, their factors, and the averages in the original coordinates."""

    vectors: Stacks  # Q: its columns are the basis vectors
    factors: Stacks  # A, in the coordinates of Q
    of_factors: Float[Array, "tensors statistics"]  # `factor_statistics` of the latest refresh
    original: Original
    alignment: Float[Array, " tensors"]  # cosine of the latest step, rotated back, and Adam's; before they are mixed


class Scalars(NamedTuple):
    """Scalars that all matrices of an update share."""

    weight: Float[Array, ""]  # of the gradients in the averages
    rate: Float[Array, ""]  # of the weighted gradients in the gradient sum
    factor: Float[Array, ""]  # of the gradients in the factors
    phase: Float[Array, ""]  # of the bases, `turns.phase`


class Held(NamedTuple):
    """The arrays that `enter` updates in place."""

    original: Original
    turned: tuple[Float[Array, "pages width"], ...]  # in the coordinates of the bases
    of_factors: Float[Array, "tensors statistics"]
    vectors: Stacks
    factors: Stacks


class Entered(NamedTuple):
    """The results of `enter`."""

    tree: Tree  # with the gradients of matrices in their bases, in the layout of `Plan.store`
    averages: Averages
    basis: State
    absolute: Float[Array, " tensors"]  # |s|_1 in the original coordinates; zero for tensors without a basis
    inner_products: Float[Array, " tensors"]  # <g, x_0 - x>, without the gradients' weight; likewise


def layout_of_original(layout: Layout, plan: Plan) -> Layout:
    """The layout of `Original`."""
    return layout.subset(plan.turned_tensors)


def init(layout: Layout, plan: Plan) -> State:
    """Identity matrices as bases, and averages of zero."""
    original = layout_of_original(layout, plan)
    return State(
        vectors=tuple(jnp.tile(jnp.eye(size, dtype=jnp.float32)[None], (count, 1, 1)) for count, size in plan.stacks),
        factors=tuple(jnp.zeros((count, size, size)) for count, size in plan.stacks),
        of_factors=jnp.zeros((len(plan.views), NUM_FACTOR_STATISTICS)),
        original=Original(*(original.zeros() for _ in range(3))),
        alignment=jnp.zeros(len(plan.views)),
    )


def denoise(grads: list[Matrices]) -> list[Matrices]:
    """Zeroes entries that are rounding errors of the rotation.

    Adam would turn such an entry into a step of full size, and so move parameters that have no gradient.
    """

    def one(x):
        norm = jnp.sqrt(jnp.sum(jnp.square(jax.lax.stop_gradient(x)), axis=(1, 2), keepdims=True))
        return jnp.where(jnp.abs(x) > ROUNDING * norm, x, 0.0)

    return [one(x) for x in grads]


def update_factors(plan: Plan, factors: Stacks, grads: list[Matrices], weight: Float[Array, ""]) -> Stacks:
    """The factors after these rotated gradients, each times `weight`; entries that overflow are set to zero."""
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


def enter(
    layout: Layout,
    plan: Plan,
    basis: State,
    averages: Averages,
    tree: Tree,
    scalars: Scalars,
    sum_decay: float,
    *,
    use_kernel: bool,
) -> Entered:
    """Updates the averages in the original coordinates and the factors, refreshes the bases if the phase says so, and
    rotates the gradients into them. A refresh also rotates the momenta and the gradient sum of `averages`.

    Args:
        sum_decay: decay of the gradient sum.
    """
    pages = (*averages.momenta, averages.gradient_sum)
    held = Held(basis.original, pages, basis.of_factors, basis.vectors, basis.factors)
    leaves, structure = jax.tree.flatten(held)
    num_tensors = len(tree.grads)

    def in_jax(scalars, initial, *arrays):
        held = structure.unflatten(arrays[: -2 * num_tensors])
        tree = Tree(list(arrays[-2 * num_tensors : -num_tensors]), list(arrays[-num_tensors:]), initial)
        original, sums = _accumulate(layout, plan, held.original, tree, Scalars(*scalars), sum_decay)
        held, rotated = _turn(layout, plan, held._replace(original=original), tree.grads, Scalars(*scalars))
        return [*jax.tree.leaves(held), sums, *[rotated[index] for index in plan.turned_tensors]]

    operands = [tree.initial, *leaves, *tree.grads, *tree.params]
    if use_kernel:
        decays = np.array([MOMENTUM_DECAY, SECOND_MOMENT_DECAY, sum_decay, FACTOR_DECAY])
        results = kernel.call(
            "velo_enter",
            in_jax,
            [jnp.stack(scalars), *operands],
            in_place={2 + index: index for index in range(len(leaves))},
            table=plan.table,
            num_stacks=np.int64(len(plan.stacks)),
            decays=decays.astype(np.float32),
            rests=(1.0 - decays).astype(np.float32),
            max_gradient=np.float32(MAX_GRADIENT),
            rounding=np.float32(ROUNDING),
        )
    else:
        results = in_jax(scalars, *operands)
    held = structure.unflatten(results[: len(leaves)])
    sums, *rotated = results[len(leaves) :]
    sums = layout.total(sums)
    grads = list(tree.grads)
    for index, grad in zip(plan.turned_tensors, rotated, strict=True):
        grads[index] = grad
    *momenta, gradient_sum = held.turned
    return Entered(
        tree._replace(grads=grads),
        Averages(tuple(momenta), averages.second_moment, gradient_sum),
        State(held.vectors, held.factors, layout.mean_of_parts(held.of_factors), held.original, basis.alignment),
        sums[:, 0],
        sums[:, 1],
    )


def _accumulate(
    layout: Layout, plan: Plan, old: Original, tree: Tree, scalars: Scalars, sum_decay: float
) -> tuple[Original, Float[Array, "tensors sums"]]:
    """The averages in the original coordinates, and the two sums of `Entered`."""
    turned, own = plan.turned_tensors, layout_of_original(layout, plan)

    def pack(leaves):
        return own.pack([leaves[index] for index in turned])

    grad = clean(pack(tree.grads))
    weighted = scalars.weight * grad
    new = Original(
        MOMENTUM_DECAY * old.momentum + (1.0 - MOMENTUM_DECAY) * weighted,
        SECOND_MOMENT_DECAY * old.second_moment + (1.0 - SECOND_MOMENT_DECAY) * jnp.square(weighted),
        sum_decay * old.gradient_sum + scalars.rate * weighted,
    )
    summands = (jnp.abs(new.gradient_sum), grad * (pack(layout.unpack(tree.initial)) - pack(tree.params)))
    sums = own.sum_by_tensor(jnp.stack([jnp.sum(summand, axis=1) for summand in summands], axis=1))
    return new, _of_all(plan, sums)


def _of_all(plan: Plan, sums: Float[Array, "turned sums"]) -> Float[Array, "tensors sums"]:
    """Sums of the tensors that have a basis, and zeros for the others."""
    return jnp.zeros((len(plan.views), sums.shape[1])).at[np.array(plan.turned_tensors)].set(sums)


def _turn(layout: Layout, plan: Plan, held: Held, grads: list[Array], scalars: Scalars) -> tuple[Held, list[Array]]:
    """The arrays after a refresh of the bases, and all gradients in these bases, in the layout of `Plan.store`."""
    rotated = rotate(plan, held.vectors, plan.gather([clean(grad) for grad in grads]))
    factors = update_factors(plan, held.factors, jax.lax.stop_gradient(rotated), scalars.factor)
    vectors, factors, of_factors, turned = refresh(
        layout, plan, scalars.phase, held.vectors, factors, held.of_factors, Turned(held.turned, rotated)
    )
    held = Held(held.original, turned.pages, of_factors, vectors, factors)
    return held, plan.store(denoise(turned.grads), grads)


def statistics(plan: Plan, state: State) -> Float[Array, "tensors statistics"]:
    """What the hypernetwork reads of each tensor's basis; zeros for tensors without one.

    Columns: 1 where there is a basis; those of `factor_statistics` at the latest refresh; `State.alignment`.
    """
    has_basis = jnp.asarray(plan.turned, jnp.float32)[:, None]
    return jnp.concatenate([has_basis, state.of_factors, state.alignment[:, None]], axis=1)


def leave(
    layout: Layout,
    plan: Plan,
    state: State,
    steps: list[Array],
    size: Float[Array, " tensors"],
    epsilon: Float[Array, ""],
    *,
    use_kernel: bool,
) -> tuple[list[Array], State]:
    """(steps in the original coordinates, state): the steps rotated back, minus `size` times Adam's direction there.

    A parameter that had no gradient so far gets no step.

    Args:
        steps: one leaf per tensor, in the layout of `Plan.store`.
        size: of the step along Adam's direction in the original coordinates, with its bias correction.
        epsilon: added to the root of the second moment.
    """
    turned, own, plan_of_turned = plan.turned_tensors, layout_of_original(layout, plan), plan.of_turned()
    num_stacks = len(plan.stacks)

    def in_jax(epsilon, size, momentum, second_moment, *arrays):
        vectors, steps = arrays[:num_stacks], arrays[num_stacks:]
        rotated = rotate_back(plan_of_turned, vectors, plan_of_turned.load(steps))
        step = own.pack(plan_of_turned.scatter(rotated, steps))
        direction = momentum / (features.root(second_moment) + epsilon)
        products = (step * direction, jnp.square(step), jnp.square(direction))
        sums = own.sum_by_tensor(jnp.stack([jnp.sum(product, axis=1) for product in products], axis=1))
        mixed = step - size[own.tensor_of_page][:, None] * direction
        mixed = jnp.where(second_moment > 0, mixed, 0.0)  # zero where there was no gradient so far
        return [sums, *own.unpack(mixed)]

    original = state.original
    operands = [epsilon, size[np.array(turned)], original.momentum, original.second_moment, *state.vectors]
    operands += [steps[index] for index in turned]
    if use_kernel:
        attributes = {"table": plan_of_turned.table, "num_stacks": np.int64(num_stacks)}
        sums, *mixed = kernel.call("velo_leave", in_jax, operands, **attributes)
    else:
        sums, *mixed = in_jax(*operands)
    steps = list(steps)
    for index, step in zip(turned, mixed, strict=True):
        steps[index] = step
    sums = layout.total(_of_all(plan, sums))
    cosine = -sums[:, 0] * _inverse_root(sums[:, 1]) * _inverse_root(sums[:, 2])
    return steps, state._replace(alignment=jnp.where(plan.turned, cosine, 0.0))


def _inverse_root(square: Float[Array, " n"]) -> Float[Array, " n"]:
    is_positive: Bool[Array, " n"] = square > TINY
    return jnp.where(is_positive, jax.lax.rsqrt(jnp.where(is_positive, square, 1.0)), 0.0)
