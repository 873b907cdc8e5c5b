"""The inputs of VeLO's hypernetwork: one row per tensor, in units of their usual spread."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from velo.architectures.pages import Layout
from velo.architectures.velo import features, passes
from velo.shapes import Float

TINY = 1e-30
NUM_UP_TO_MOMENTA = 6  # of the features: gradient, weight, moved, three momenta
INPUTS = (
    (features.NUM_FRACTIONS, 0.0, 1.0),
    (features.NUM_LOSS_FEATURES, 0.05, 0.1),
    (1, 0.0, 0.2),  # length of the run
    (features.NUM_RANKS, 0.0, 1.0),
    (1, 0.4, 0.2),  # size of the tensor
    (1, 0.5, 0.15),  # number of tensors
    (1, 0.0, 0.4),  # mean weight
    (1, -0.1, 0.3),  # deviation of the weights
    (1, 1.0, 1.0),  # weights over initial ones
    (1, -0.1, 0.15),  # momenta, from the shortest, over the root of the second moment
    (1, -0.4, 0.15),
    (1, -0.75, 0.15),
    (1, 0.2, 0.2),  # gradient
    (1, 0.0, 0.1),  # mean root
    (1, 0.4, 0.2),  # distance from the start, over the distance estimate
    (1, 0.0, 0.25),  # distance estimate of the tensor
    (1, 0.0, 0.5),  # distance estimate over the initial weights
    (1, 0.0, 0.15),  # distance from the start, over the weights
)
"""Inputs of the hypernetwork in their order: (number of inputs, usual value, spread). Usual value and spread are taken
over steps, tensors and tasks of meta-training. The hypernetwork reads (input - usual value) / spread, so that all
inputs have the same influence."""
BASIS_INPUTS = (
    (1, 0.5, 0.5),  # 1 for tensors with a basis, 0 for others
    (1, -0.4, 0.3),  # effective rank of the left factor
    (1, -0.3, 0.25),  # of the right factor
    (1, 0.06, 0.06),  # share of the factors' squares off the diagonal
    (1, 0.5, 0.3),  # alignment with Adam's direction in the original coordinates
    (1, 0.15, 0.2),  # |s|_1 in the original coordinates over that in the eigenbasis
)
"""Further inputs of a VeLO in the eigenbasis."""


class Moments(NamedTuple):
    """Means over each tensor: of the features' squares, of the parameters and of the second moment's root."""

    squares: Float[jax.Array, "tensors features"]  # of `passes.Features`, in their order
    weight: Float[jax.Array, " tensors"]
    root: Float[jax.Array, " tensors"]


def counts(layout: Layout) -> np.ndarray:
    """Parameters of each tensor, at least one."""
    return np.maximum(layout.whole_sizes, 1).astype(np.float32)


def means(layout: Layout, sums: Float[jax.Array, "tensors sums"]) -> Moments:
    """The means, from the sums of `passes.accumulate` without the last two."""
    found = sums / counts(layout)[:, None]
    return Moments(found[:, : passes.NUM_PARAMETER_FEATURES], found[:, -2], found[:, -1])


def tensor_statistics(moments: Moments, initial_size, estimate, per_tensor) -> Float[jax.Array, "tensors statistics"]:
    """Statistics of each tensor, all of them ratios.

    They don't change when the loss is rescaled, nor when the parameters and the distances are rescaled together, except
    for the 1e-3 that is added to an initial size, which may be zero.
    """
    sizes = features.root(moments.squares)
    gradient, weight, moved, *momenta = (sizes[:, column] for column in range(NUM_UP_TO_MOMENTA))
    root = sizes[:, -1]
    deviation = features.root(jnp.maximum(jnp.square(weight) - jnp.square(moments.weight), 0.0))
    ratio = features.log_ratio
    return jnp.stack(
        [
            moments.weight / (weight + TINY),
            ratio(deviation, weight),
            ratio(weight, initial_size),
            *(ratio(momentum, root) for momentum in momenta),
            ratio(gradient, root),
            ratio(moments.root, root),
            ratio(moved, estimate),
            ratio(per_tensor, estimate),
            ratio(estimate, initial_size + 1e-3),
            ratio(moved, weight),
        ],
        axis=1,
    )


def run_features(fraction, loss_history, num_steps) -> Float[jax.Array, " features"]:
    """The features that are the same for all tensors: fraction of the run, loss history, length of the run."""
    length = 0.2 * jnp.log(num_steps / 1000.0)
    return jnp.concatenate([features.fraction_features(fraction), features.loss_features(loss_history), length[None]])


def hypernetwork_inputs(layout: Layout, run, statistics, expected) -> Float[jax.Array, "tensors inputs"]:
    """One row per tensor: the run's features, then the tensor's own, scaled by `expected` in the form of `INPUTS`."""
    num_tensors = len(layout.whole_shapes)
    fixed = np.concatenate(
        [
            np.stack([features.rank_one_hot(shape) for shape in layout.whole_shapes]),
            0.1 * np.log(np.maximum(layout.whole_sizes, 1))[:, None],
            np.full((num_tensors, 1), 0.2 * math.log(num_tensors)),
        ],
        axis=1,
    ).astype(np.float32)
    inputs = jnp.concatenate([jnp.broadcast_to(run[None], (num_tensors, len(run))), fixed, statistics], axis=1)
    counts, usual, spread = zip(*expected, strict=True)
    usual, spread = (np.repeat(column, counts).astype(np.float32)[None] for column in (usual, spread))
    return (inputs - usual) / spread
