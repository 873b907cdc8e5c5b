"""VeLO: an LSTM over tensors steers the per-parameter MLP that corrects a parameter-free nominal optimizer.

Source: 2211.09760. Deviations: the MLP corrects a hand-made direction (Prodigy's, 2306.06101, with cosine decay), so
that an untrained theta is already a good optimizer, where the paper's MLP starts from nothing; the step scale is
Prodigy's distance estimate instead of the parameters' root mean square, whose compounding growth diverges on long
runs; the reference's dead mixing layer, discarded LSTM state and loss features frozen at ten steps are not carried
over.
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from velo import distance, features, guard, hypernetwork, packing, parameter_mlp, passes
from velo.learned_optimizer import LearnedOptimizer, Theta, check_update_arguments
from velo.shapes import Float, Int, PRNGKeyArray

TINY = 1e-30
NUM_UP_TO_MOMENTA = 6  # of the features: gradient, weight, moved, three momenta
MAX_LOG_STEP = 5.0
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
    (1, 0.4, 0.2),  # way from the start, over the distance estimate
    (1, 0.0, 0.25),  # distance estimate of the tensor
    (1, 0.0, 0.5),  # distance estimate over the initial weights
    (1, 0.0, 0.15),  # way from the start, over the weights
)
"""Inputs of the hypernetwork in their order: how many, where they lie usually, how far they spread over steps, tensors
and tasks of meta-training. Read in units of that spread, each can move the outputs as much as any other."""
NUM_TENSOR_FEATURES = sum(count for count, _, _ in INPUTS)


class State(NamedTuple):
    """What is not in pages is per tensor or global."""

    step: Int[jax.Array, ""]
    averages: passes.Averages
    initial_params: Float[jax.Array, "pages width"]
    initial_size: Float[jax.Array, " tensors"]  # root mean square
    usual: guard.Usual
    distance: distance.Distance
    loss_history: features.LossHistory
    lstm: hypernetwork.LSTMState


class Moments(NamedTuple):
    """Means over each tensor."""

    squares: Float[jax.Array, "tensors features"]  # of the features, in their order
    weight: Float[jax.Array, " tensors"]
    root: Float[jax.Array, " tensors"]


@dataclasses.dataclass(frozen=True)
class VeLO(LearnedOptimizer):
    """The architecture; the fields are its sizes."""

    lstm_size: int = 32
    """Hidden units of the per-tensor LSTM (the paper: 512)."""
    num_mixtures: int = 8
    """Networks in the bank that the LSTM mixes (the paper: 256)."""
    mlp_width: int = 4
    """Units of a hidden layer of the per-parameter MLP."""
    mlp_depth: int = 2
    """Hidden layers of the per-parameter MLP."""
    nominal: float = 1.0
    """Weight of the hand-made direction that the MLP corrects; 0 leaves everything to the MLP."""
    initial_distance: float = 3e-4
    """First estimate of the distance to the solution (Prodigy: 1e-6, which costs short runs their first tenth)."""
    final_rate: float = 0.0
    """Where the nominal cosine decay ends, as a fraction of its start."""

    def __post_init__(self):
        for name in ("lstm_size", "num_mixtures", "mlp_width", "mlp_depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"VeLO: {name} must be at least 1, got {getattr(self, name)}")
        if self.nominal < 0:
            raise ValueError(f"VeLO: nominal must be at least 0, got {self.nominal}")
        if not 0 < self.initial_distance < math.inf:
            raise ValueError(f"VeLO: initial_distance must be positive and finite, got {self.initial_distance}")
        if not 0 <= self.final_rate <= 1:
            raise ValueError(f"VeLO: final_rate must be in [0, 1], got {self.final_rate}")

    def init(self, key: PRNGKeyArray) -> Theta:
        key_hypernetwork, key_bank = jax.random.split(key)
        return {
            "hypernetwork": hypernetwork.init_hypernetwork(
                key_hypernetwork, NUM_TENSOR_FEATURES, self.lstm_size, self.num_mixtures
            ),
            "bank": parameter_mlp.init_bank(
                key_bank, self.num_mixtures, passes.NUM_PARAMETER_FEATURES, self.mlp_width, self.mlp_depth, 2
            ),
        }

    def bind(self, theta: Theta, num_steps: int | Int[jax.Array, ""]) -> optax.GradientTransformationExtraArgs:
        def init(params):
            return _init_state(theta, params, self.initial_distance)

        def update(updates, state, params=None, *, value=None, **extra_args):
            del extra_args
            check_update_arguments(params, value)
            if not jax.tree.leaves(params):
                return updates, state
            with jax.default_matmul_precision("highest"):
                return self.update_with_controls(theta, num_steps, updates, state, params, jnp.asarray(value))[:2]

        return optax.GradientTransformationExtraArgs(init, update)

    def update_with_controls(self, theta, num_steps, grads, state, params, loss):
        """(updates, state, what the hypernetwork chose for each tensor), the last for `velo.diagnostics`.

        Two passes over the parameters: averages and their statistics, then, once the LSTM has read these, the steps.
        """
        leaves, treedef = jax.tree.flatten(params)
        layout = packing.Layout(tuple(jnp.shape(leaf) for leaf in leaves))
        num_steps = jnp.asarray(num_steps, jnp.float32)
        fraction = jnp.minimum(state.step / num_steps, 1.0)
        estimate = state.distance.estimate
        rate = self.nominal_rate(state.step, estimate, fraction)
        tree = passes.Tree(_float32(treedef.flatten_up_to(grads)), _float32(leaves), state.initial_params)
        factor, usual = guard.shorten(state.usual, tree.grads)
        weight = factor * estimate  # of the gradient, wherever it is read
        averages, sums = passes.accumulate(layout, state.averages, tree, weight, rate)
        new_distance = distance.update_distance(
            state.distance, rate, inner_products=factor * sums[:, -1], sums=sums[:, -2]
        )
        moments = _moments(layout, sums[:, :-2])
        loss_history = features.update_loss_history(state.loss_history, loss, num_steps)
        run = run_features(fraction, loss_history, num_steps)
        statistics = tensor_statistics(moments, state.initial_size, estimate, new_distance.per_tensor)
        inputs = hypernetwork_inputs(layout, run, statistics)
        controls, lstm = hypernetwork.apply_hypernetwork(theta["hypernetwork"], state.lstm, inputs)
        networks = parameter_mlp.mix_bank(theta["bank"], controls.mixture)
        networks = parameter_mlp.normalize_inputs(networks, moments.squares)
        size = rate * jnp.exp(jnp.clip(controls.log_step, -MAX_LOG_STEP, MAX_LOG_STEP))
        correction = jnp.minimum(1.0, jnp.sqrt(moments.squares[:, NUM_UP_TO_MOMENTA]))
        scales = passes.Scales(size, correction, new_distance.estimate * passes.EPSILON)
        steps = passes.steps(layout, averages, tree, networks, scales, weight, self.nominal)
        updates = [step.astype(leaf.dtype) for step, leaf in zip(steps, leaves, strict=True)]
        state = State(
            state.step + 1, averages, state.initial_params, state.initial_size, usual, new_distance, loss_history, lstm
        )
        return treedef.unflatten(updates), state, controls

    def nominal_rate(self, step, estimate, fraction) -> Float[jax.Array, ""]:
        """gamma_k d_k with Adam's bias correction and a cosine decay over the run, as in optax.contrib.prodigy."""
        count = (step + 1).astype(jnp.float32)
        correction = jnp.sqrt(1.0 - passes.SECOND_MOMENT_DECAY**count) / (1.0 - passes.MOMENTUM_DECAYS[0] ** count)
        cosine = 0.5 * (1.0 + jnp.cos(jnp.pi * fraction))
        return estimate * correction * (self.final_rate + (1.0 - self.final_rate) * cosine)


def _init_state(theta, params, initial_distance: float) -> State:
    leaves = jax.tree.leaves(params)
    layout = packing.Layout(tuple(jnp.shape(leaf) for leaf in leaves))
    initial = layout.pack([jnp.asarray(leaf) for leaf in leaves])
    squares = layout.sum_by_tensor(jnp.sum(jnp.square(initial), axis=1))
    return State(
        step=jnp.zeros((), jnp.int32),
        averages=passes.Averages(tuple(layout.zeros() for _ in passes.MOMENTUM_DECAYS), layout.zeros(), layout.zeros()),
        initial_params=initial,
        initial_size=jnp.sqrt(squares / _counts(layout)),
        usual=guard.init_usual(),
        distance=distance.init_distance(len(leaves), initial_distance),
        loss_history=features.init_loss_history(),
        lstm=hypernetwork.init_lstm(theta["hypernetwork"], len(leaves)),
    )


def _float32(leaves) -> list[jax.Array]:
    return [jnp.asarray(leaf, jnp.float32) for leaf in leaves]


def _counts(layout: packing.Layout) -> np.ndarray:
    return np.maximum(layout.sizes, 1).astype(np.float32)


def _moments(layout: packing.Layout, sums) -> Moments:
    means = sums / _counts(layout)[:, None]
    return Moments(means[:, : passes.NUM_PARAMETER_FEATURES], means[:, -2], means[:, -1])


def tensor_statistics(moments: Moments, initial_size, estimate, per_tensor) -> Float[jax.Array, "tensors statistics"]:
    """Ratios only: unchanged when the loss is rescaled, and when parameters and their distance are."""
    sizes = jnp.sqrt(moments.squares)
    gradient, weight, moved, *momenta = (sizes[:, column] for column in range(NUM_UP_TO_MOMENTA))
    root = sizes[:, -1]
    deviation = jnp.sqrt(jnp.maximum(jnp.square(weight) - jnp.square(moments.weight), 0.0))
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
    """The same for all tensors."""
    length = 0.2 * jnp.log(num_steps / 1000.0)
    return jnp.concatenate([features.fraction_features(fraction), features.loss_features(loss_history), length[None]])


def hypernetwork_inputs(layout: packing.Layout, run, statistics) -> Float[jax.Array, "tensors inputs"]:
    """One row a tensor: the run's features, then the tensor's own."""
    num_tensors = len(layout.shapes)
    fixed = np.concatenate(
        [
            np.stack([features.rank_one_hot(shape) for shape in layout.shapes]),
            0.1 * np.log(np.maximum(layout.sizes, 1))[:, None],
            np.full((num_tensors, 1), 0.2 * math.log(num_tensors)),
        ],
        axis=1,
    ).astype(np.float32)
    inputs = jnp.concatenate([jnp.broadcast_to(run[None], (num_tensors, len(run))), fixed, statistics], axis=1)
    counts, usual, spread = zip(*INPUTS, strict=True)
    usual, spread = (np.repeat(column, counts).astype(np.float32)[None] for column in (usual, spread))
    return (inputs - usual) / spread
