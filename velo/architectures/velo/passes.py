"""VeLO's two passes over the parameters: the averages with their sums, then, once the LSTM has read these, the steps.

Each runs in JAX, block by block, or in the kernel (`velo.architectures.velo.kernel`); the tests compare the two.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from velo.architectures import blocks
from velo.architectures.pages import Layout
from velo.architectures.velo import features, kernel, parameter_mlp
from velo.learned_optimizer import Theta
from velo.shapes import Float

MOMENTUM_DECAYS = (0.9, 0.99, 0.999)
EPSILON = 1e-8
NUM_PARAMETER_FEATURES = 12
NUM_SUMS = NUM_PARAMETER_FEATURES + 4
MAX_GRADIENT = 1e15
TINY_MOMENT = 1e-36
"""A second moment below it counts as zero. The sum of smaller ones' squared inverse roots over a page could overflow.
The sums over tensors would then multiply infinity by zero."""
MAX_LOG_MAGNITUDE = 3.0


@dataclasses.dataclass(frozen=True)
class Decays:
    """Decays of the averages other than the momenta, and how the nominal direction uses the shortest momentum m."""

    second_moment: float
    gradient_sum: float
    """beta_3 of Prodigy, the square root of `second_moment`."""
    nesterov: bool = False
    """Whether the numerator of the direction is .9 m + .1 g (NAdam, Dozat 2016) and not m."""

    @property
    def gradient_share(self) -> float:
        """Share of the gradient g in that numerator; the rest is m."""
        return 1.0 - MOMENTUM_DECAYS[0] if self.nesterov else 0.0

    @property
    def max_direction(self) -> float:
        """1.1 times the upper bound of |numerator of the direction| / root when both average the same gradients.

        The bound is that of Cauchy and Schwarz: the root of the sum of (weight in the numerator)^2 / weight in the
        second moment over all gradients. Larger values occur only after a rotation of the basis, which brings momentum
        into a coordinate that had no gradient, where the root is nearly zero.
        """
        momentum, second, share = MOMENTUM_DECAYS[0], self.second_moment, self.gradient_share
        latest = (1.0 - share) * (1.0 - momentum) + share
        older = (1.0 - share) * (1.0 - momentum) * momentum
        squares = latest**2 + older**2 / (second - momentum**2)
        return 1.1 * (squares / (1.0 - second)) ** 0.5


class Averages(NamedTuple):
    """One number per parameter, packed in pages (`velo.architectures.pages`), in float32.

    Gradients enter times a weight: the distance estimate of their step, as in Prodigy, times the factors of `guard` and
    `unit`.
    """

    momenta: tuple[Float[jax.Array, "pages width"], ...]
    second_moment: Float[jax.Array, "pages width"]
    gradient_sum: Float[jax.Array, "pages width"]  # s_k of Prodigy, up to a constant factor


class Features(NamedTuple):
    """Inputs of the per-parameter MLP, in its order."""

    gradient: Float[jax.Array, "pages width"]  # times its weight in the averages
    weight: Float[jax.Array, "pages width"]  # the parameter
    moved: Float[jax.Array, "pages width"]  # since the start
    momenta: tuple[Float[jax.Array, "pages width"], ...]
    normalized_momenta: tuple[Float[jax.Array, "pages width"], ...]
    normalized_gradient: Float[jax.Array, "pages width"]
    inverse_root: Float[jax.Array, "pages width"]
    root: Float[jax.Array, "pages width"]  # of the second moment

    def rows(self) -> list[jax.Array]:
        """The features in the MLP's order."""
        return [
            self.gradient,
            self.weight,
            self.moved,
            *self.momenta,
            *self.normalized_momenta,
            self.normalized_gradient,
            self.inverse_root,
            self.root,
        ]


class Tree(NamedTuple):
    """Gradients and parameters of an update, in float32."""

    grads: list[jax.Array]
    params: list[jax.Array]
    initial: Float[jax.Array, "pages width"]  # the initial parameters


class Scales(NamedTuple):
    """step = -size * (nominal direction + correction * MLP direction)."""

    size: Float[jax.Array, " tensors"]
    correction: Float[jax.Array, " tensors"]
    epsilon: Float[jax.Array, ""]  # added to the root of the second moment


def accumulate(
    layout: Layout,
    decays: Decays,
    averages: Averages,
    tree: Tree,
    estimate: Float[jax.Array, ""],
    rate: Float[jax.Array, ""],
    *,
    use_kernel: bool,
) -> tuple[Averages, Float[jax.Array, "tensors sums"]]:
    """The averages after this gradient, and sums over each tensor.

    The sums, in this order: squares of each feature, the weight, the root, |s_k|, and -g_k (x_k - x_0).

    Args:
        estimate: weight of the gradient in the averages.
        rate: weight of the weighted gradient in the gradient sum, gamma_k d_k of Prodigy.
    """
    num_tensors = len(tree.grads)

    def in_jax(scalars, *arrays):
        *momenta, second_moment, gradient_sum, initial = arrays[: -2 * num_tensors]
        tree = Tree(list(arrays[-2 * num_tensors : -num_tensors]), list(arrays[-num_tensors:]), initial)
        averages = Averages(tuple(momenta), second_moment, gradient_sum)
        averages, sums = _accumulate_pages(layout, decays, averages, tree, *scalars)
        return [*averages.momenta, averages.second_moment, averages.gradient_sum, sums]

    if not use_kernel:
        return _accumulate_pages(layout, decays, averages, tree, estimate, rate)
    states = [*averages.momenta, averages.second_moment, averages.gradient_sum]
    all_decays = np.array([*MOMENTUM_DECAYS, decays.second_moment, decays.gradient_sum])
    *momenta, second_moment, gradient_sum, sums = kernel.call(
        "velo_accumulate",
        in_jax,
        [jnp.stack([estimate, rate]), *states, tree.initial, *tree.grads, *tree.params],
        in_place={1 + index: index for index in range(len(states))},
        decays=all_decays.astype(np.float32),
        rests=(1.0 - all_decays).astype(np.float32),
        max_gradient=np.float32(MAX_GRADIENT),
    )
    return Averages(tuple(momenta), second_moment, gradient_sum), sums


def steps(
    layout: Layout,
    decays: Decays,
    averages: Averages,
    tree: Tree,
    networks: Theta,
    scales: Scales,
    estimate: Float[jax.Array, ""],
    nominal: float,
    *,
    use_kernel: bool,
) -> list[jax.Array]:
    """The steps of all tensors, in float32.

    Args:
        networks: the MLP of each tensor (leading axis); it reads features that aren't normalised.
        estimate: weight of the gradient in the averages.
        nominal: factor on the hand-made direction, Adam's.
    """
    num_tensors = len(tree.grads)

    def in_jax(scalars, per_tensor, *arrays):
        *momenta, second_moment, initial = arrays[: len(MOMENTUM_DECAYS) + 2]
        tree = Tree(list(arrays[-2 * num_tensors : -num_tensors]), list(arrays[-num_tensors:]), initial)
        networks = jax.tree.unflatten(structure, arrays[len(MOMENTUM_DECAYS) + 2 : -2 * num_tensors])
        averages = Averages(tuple(momenta), second_moment, jnp.zeros_like(second_moment))
        scales = Scales(per_tensor[:, 0], per_tensor[:, 1], scalars[1])
        return _steps_of_pages(layout, decays, averages, tree, networks, scales, scalars[0], nominal)

    if not use_kernel:
        return _steps_of_pages(layout, decays, averages, tree, networks, scales, estimate, nominal)
    structure = jax.tree.structure(networks)
    return kernel.call(
        "velo_steps",
        in_jax,
        [
            jnp.stack([estimate, scales.epsilon]),
            jnp.stack([scales.size, scales.correction], axis=-1),
            *averages.momenta,
            averages.second_moment,
            tree.initial,
            *jax.tree.leaves(networks),
            *tree.grads,
            *tree.params,
        ],
        nominal=np.float32(nominal),
        max_gradient=np.float32(MAX_GRADIENT),
        max_magnitude=np.float32(MAX_LOG_MAGNITUDE),
        max_direction=np.float32(decays.max_direction),
        gradient_share=np.float32(decays.gradient_share),
    )


def _accumulate_pages(layout, decays, averages, tree, estimate, rate):
    def function(averages, read):
        grad, weights = read
        averages = _accumulate(decays, averages, grad, estimate, rate)
        return averages, _page_sums(averages, grad, weights, estimate)

    read = (layout.pack(tree.grads), (layout.pack(tree.params), tree.initial))
    averages, page_sums = blocks.map_blocks(function, layout.num_blocks, averages, read)
    return averages, layout.sum_by_tensor(page_sums)


def _steps_of_pages(layout, decays, averages, tree, networks, scales, estimate, nominal):
    def function(grad, read):
        """The steps overwrite the gradients."""
        averages, weights, tensor = read
        tensor = tensor[:, 0]
        columns = _features(averages, grad, weights, estimate)
        direction, magnitude = parameter_mlp.apply_mlp(
            jax.tree.map(lambda leaf: leaf[tensor], networks), columns.rows()
        )
        outputs = jnp.where(columns.root > 0, direction, 0.0), magnitude  # zero where there was no gradient so far
        limit = decays.max_direction * columns.root
        momentum = columns.momenta[0]
        if decays.nesterov:
            momentum = momentum + decays.gradient_share * (columns.gradient - momentum)
        momentum = jnp.clip(momentum, -limit, limit)
        root = columns.root + scales.epsilon
        scaled = _scaled_direction(momentum, root, outputs, scales.correction[tensor][:, None], nominal)
        # XLA never duplicates a division. If this ended in a product, XLA would compute all of it again for each tensor
        # that is sliced out of the pages.
        return -scales.size[tensor][:, None] * scaled / root, ()

    read = (averages, (layout.pack(tree.params), tree.initial), jnp.asarray(layout.tensor_of_page)[:, None])
    pages, _ = blocks.map_blocks(function, layout.num_blocks, layout.pack(tree.grads), read)
    return layout.unpack(pages)


def _scaled_direction(momentum, root, outputs, correction, nominal) -> Float[jax.Array, "pages width"]:
    """The step times -root / size: nominal * momentum * exp(magnitude) + correction * root * direction.

    momentum / root is Adam's direction, or NAdam's. `magnitude` is clipped; `correction`, at most 1, gives the MLP's
    direction the size of Adam's.
    """
    direction, magnitude = outputs
    magnitude = jnp.clip(magnitude, -MAX_LOG_MAGNITUDE, MAX_LOG_MAGNITUDE)
    return nominal * momentum * jnp.exp(magnitude) + correction * root * direction


def clean(grad):
    """Zeroes non-finite and huge entries: neither they nor the overflow of their squares may reach an average."""
    return jnp.where(jnp.abs(grad) < MAX_GRADIENT, grad, 0.0)


def _accumulate(decays: Decays, averages: Averages, grad, estimate, rate) -> Averages:
    """Averages after this gradient, which `estimate` weights (2306.06101, algorithm 4)."""
    weighted = estimate * clean(grad)
    decay = decays.second_moment
    return Averages(
        momenta=tuple(
            momentum_decay * momentum + (1.0 - momentum_decay) * weighted
            for momentum_decay, momentum in zip(MOMENTUM_DECAYS, averages.momenta, strict=True)
        ),
        second_moment=decay * averages.second_moment + (1.0 - decay) * jnp.square(weighted),
        gradient_sum=decays.gradient_sum * averages.gradient_sum + rate * weighted,
    )


def _features(averages: Averages, grad, weights, estimate) -> Features:
    """The features; all are zero in padding, and the inverse root where the second moment is at most `TINY_MOMENT`."""
    weight, initial = weights
    root = features.root(averages.second_moment)
    has_one = averages.second_moment > TINY_MOMENT
    inverse = jnp.where(has_one, 1.0 / jnp.where(has_one, root, 1.0), 0.0)
    weighted = estimate * clean(grad)
    return Features(
        gradient=weighted,
        weight=weight,
        moved=weight - initial,
        momenta=averages.momenta,
        normalized_momenta=tuple(momentum * inverse for momentum in averages.momenta),
        normalized_gradient=weighted * inverse,
        inverse_root=inverse,
        root=root,
    )


def _page_sums(averages: Averages, grad, weights, estimate) -> Float[jax.Array, "pages sums"]:
    """Sums over each page: the features' squares, weight, root, |s_k| and <-g_k, x_k - x_0>.

    The square of the root is summed as the second moment. XLA on a CPU then keeps the second moment as an array of its
    own and updates it in place.
    """
    columns = _features(averages, grad, weights, estimate)
    *rows, _ = columns.rows()
    summands = [
        *map(jnp.square, rows),
        averages.second_moment,
        columns.weight,
        columns.root,
        jnp.abs(averages.gradient_sum),
        -clean(grad) * columns.moved,
    ]
    return jnp.stack([jnp.sum(summand, axis=-1) for summand in summands], axis=-1)
