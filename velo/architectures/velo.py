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

from velo import distance, features, hypernetwork, packing, parameter_mlp
from velo.learned_optimizer import LearnedOptimizer, Theta, check_update_arguments
from velo.shapes import Float, Int, PRNGKeyArray

MOMENTUM_DECAYS = (0.9, 0.99, 0.999)
SECOND_MOMENT_DECAY = 0.999
EPSILON = 1e-8
TINY = 1e-30  # second moments are weighted by the squared distance estimate, which starts small
NUM_PARAMETER_FEATURES = 12
GRADIENT, WEIGHT, MOVED, MOMENTUM, NORMALIZED_MOMENTUM, ROOT = 0, 1, 2, 3, 6, 11  # places in `_parameter_features`
NUM_TENSOR_FEATURES = features.NUM_FRACTIONS + features.NUM_LOSS_FEATURES + features.NUM_RANKS + 18
MAX_GRADIENT = 1e15
MAX_LOG_STEP = 5.0
MAX_LOG_MAGNITUDE = 3.0


class State(NamedTuple):
    """Per-parameter averages lie packed in pages (`velo.packing`), in float32; the rest is per tensor or global."""

    step: Int[jax.Array, ""]
    momenta: Float[jax.Array, "decays pages width"]  # of gradients times the distance estimate, as in Prodigy
    second_moment: Float[jax.Array, "pages width"]
    gradient_sum: Float[jax.Array, "pages width"]  # s_k of Prodigy
    initial_params: Float[jax.Array, "pages width"]
    distance: distance.Distance
    loss_history: features.LossHistory
    lstm: hypernetwork.LSTMState


class Moments(NamedTuple):
    """Over each tensor, of every per-parameter feature."""

    means: Float[jax.Array, "tensors inputs"]
    mean_squares: Float[jax.Array, "tensors inputs"]


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
                key_bank, self.num_mixtures, NUM_PARAMETER_FEATURES, self.mlp_width, self.mlp_depth, 2
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
        """(updates, state, what the hypernetwork chose for each tensor), the last for `velo.diagnostics`."""
        leaves, treedef = jax.tree.flatten(params)
        layout = packing.Layout(tuple(jnp.shape(leaf) for leaf in leaves))
        weights = layout.pack(leaves)
        grad = layout.pack(treedef.flatten_up_to(grads))
        # A broken entry is no gradient: neither it nor the overflow of its square may reach an average.
        grad = jnp.where(jnp.abs(grad) < MAX_GRADIENT, grad, 0.0)
        num_steps = jnp.asarray(num_steps, jnp.float32)
        fraction = jnp.minimum(state.step / num_steps, 1.0)
        rate = self._nominal_rate(state, fraction)

        state = _accumulate(state, grad, rate)._replace(
            loss_history=features.update_loss_history(state.loss_history, loss, num_steps)
        )
        moved = weights - state.initial_params
        new_distance = distance.update_distance(
            state.distance,
            rate,
            inner_products=layout.sum_by_tensor(jnp.sum(-grad * moved, axis=1)),
            sums=layout.sum_by_tensor(jnp.sum(jnp.abs(state.gradient_sum), axis=1)),
        )
        columns = jnp.where(layout.occupied[:, None], _parameter_features(state, grad, weights, moved), 0.0)
        moments = _moments(layout, columns)
        statistics = _tensor_statistics(layout, moments, state, new_distance.per_tensor)
        inputs = _hypernetwork_inputs(layout, state, fraction, num_steps, statistics)
        controls, lstm = hypernetwork.apply_hypernetwork(theta["hypernetwork"], state.lstm, inputs)
        networks = parameter_mlp.mix_bank(theta["bank"], controls.mixture)
        networks = parameter_mlp.normalize_inputs(networks, moments.mean_squares)
        networks = jax.tree.map(lambda leaf: leaf[layout.tensor_of_page], networks)

        outputs = parameter_mlp.apply_mlp(networks, columns)
        size = jnp.minimum(1.0, jnp.sqrt(moments.mean_squares[:, NORMALIZED_MOMENTUM]))[layout.tensor_of_page]
        direction = self._direction(columns, outputs, size, new_distance.estimate * EPSILON)
        log_step = jnp.clip(controls.log_step, -MAX_LOG_STEP, MAX_LOG_STEP)[layout.tensor_of_page]
        steps = layout.unpack(rate * jnp.exp(log_step)[:, None] * direction)
        updates = [-step.astype(leaf.dtype) for step, leaf in zip(steps, leaves, strict=True)]
        state = state._replace(step=state.step + 1, distance=new_distance, lstm=lstm)
        return treedef.unflatten(updates), state, controls

    def _nominal_rate(self, state, fraction):
        """gamma_k d_k with Adam's bias correction and a cosine decay over the run, as in optax.contrib.prodigy."""
        count = (state.step + 1).astype(jnp.float32)
        correction = jnp.sqrt(1.0 - SECOND_MOMENT_DECAY**count) / (1.0 - MOMENTUM_DECAYS[0] ** count)
        cosine = 0.5 * (1.0 + jnp.cos(jnp.pi * fraction))
        return state.distance.estimate * correction * (self.final_rate + (1.0 - self.final_rate) * cosine)

    def _direction(self, columns, outputs, size, epsilon) -> Float[jax.Array, "pages width"]:
        """The nominal direction times exp(magnitude), plus the MLP's times the nominal's size, at most one."""
        nominal = columns[:, MOMENTUM] / (columns[:, ROOT] + epsilon)
        magnitude = jnp.clip(outputs[:, 1], -MAX_LOG_MAGNITUDE, MAX_LOG_MAGNITUDE)
        return self.nominal * nominal * jnp.exp(magnitude) + size[:, None] * outputs[:, 0]


def _init_state(theta, params, initial_distance: float) -> State:
    leaves = jax.tree.leaves(params)
    layout = packing.Layout(tuple(jnp.shape(leaf) for leaf in leaves))
    initial = layout.pack([jnp.asarray(leaf) for leaf in leaves])
    return State(
        step=jnp.zeros((), jnp.int32),
        momenta=jnp.zeros((len(MOMENTUM_DECAYS), *initial.shape)),
        second_moment=jnp.zeros_like(initial),
        gradient_sum=jnp.zeros_like(initial),
        initial_params=initial,
        distance=distance.init_distance(len(leaves), initial_distance),
        loss_history=features.init_loss_history(),
        lstm=hypernetwork.init_lstm(theta["hypernetwork"], len(leaves)),
    )


def _accumulate(state: State, grad, rate) -> State:
    """Averages after this gradient, each weighted by the distance estimate of its time (2306.06101, algorithm 4)."""
    estimate = state.distance.estimate
    weighted = estimate * grad
    decays = jnp.array(MOMENTUM_DECAYS)[:, None, None]
    return state._replace(
        momenta=decays * state.momenta + (1.0 - decays) * weighted[None],
        second_moment=SECOND_MOMENT_DECAY * state.second_moment + (1.0 - SECOND_MOMENT_DECAY) * jnp.square(weighted),
        gradient_sum=distance.DECAY * state.gradient_sum + rate * estimate * grad,
    )


def _parameter_features(state: State, grad, weights, moved) -> Float[jax.Array, "pages inputs width"]:
    root = jnp.sqrt(state.second_moment)
    inverse = jax.lax.rsqrt(state.second_moment + TINY)
    weighted = state.distance.estimate * grad
    rows = [
        weighted,
        weights,
        moved,
        *state.momenta,
        *(m * inverse for m in state.momenta),
        weighted * inverse,
        inverse,
        root,
    ]
    return jnp.stack(rows, axis=1)


def _moments(layout: packing.Layout, columns) -> Moments:
    counts = np.maximum(layout.sizes, 1).astype(np.float32)[:, None]
    return Moments(
        layout.sum_by_tensor(jnp.sum(columns, axis=2)) / counts,
        layout.sum_by_tensor(jnp.sum(jnp.square(columns), axis=2)) / counts,
    )


def _tensor_statistics(layout, moments: Moments, state: State, per_tensor) -> Float[jax.Array, "tensors statistics"]:
    """Ratios only: unchanged when the loss is rescaled, and when parameters and their distance are."""
    counts = np.maximum(layout.sizes, 1).astype(np.float32)
    initial = jnp.sqrt(layout.sum_by_tensor(jnp.sum(jnp.square(state.initial_params), axis=1)) / counts)
    estimate = state.distance.estimate
    roots = jnp.sqrt(moments.mean_squares)
    mean = moments.means[:, WEIGHT]
    deviation = jnp.sqrt(jnp.maximum(moments.mean_squares[:, WEIGHT] - jnp.square(mean), 0.0))
    gradient, weight, moved, root = roots[:, GRADIENT], roots[:, WEIGHT], roots[:, MOVED], roots[:, ROOT]
    ratio = features.log_ratio
    momenta = [roots[:, MOMENTUM + index] for index in range(len(MOMENTUM_DECAYS))]
    return jnp.stack(
        [
            mean / (weight + TINY),
            ratio(deviation, weight),
            ratio(weight, initial),
            *(moments.means[:, MOMENTUM + index] / (m + TINY) for index, m in enumerate(momenta)),
            *(ratio(m, root) for m in momenta),
            ratio(gradient, root),
            ratio(jnp.abs(moments.means[:, ROOT]), root),
            ratio(moved, estimate),
            ratio(per_tensor, estimate),
            ratio(estimate, initial + 1e-3),
            ratio(moved, weight),
        ],
        axis=1,
    )


def _hypernetwork_inputs(layout, state: State, fraction, num_steps, statistics) -> Float[jax.Array, "tensors inputs"]:
    """One row a tensor: the run's features, the same for all, then the tensor's own."""
    run = jnp.concatenate(
        [
            features.fraction_features(fraction),
            features.loss_features(state.loss_history),
            0.2 * jnp.log(num_steps / 1000.0)[None],
        ]
    )
    num_tensors = len(layout.shapes)
    fixed = np.concatenate(
        [
            np.stack([features.rank_one_hot(shape) for shape in layout.shapes]),
            0.1 * np.log(np.maximum(layout.sizes, 1))[:, None],
            np.full((num_tensors, 1), 0.2 * math.log(num_tensors)),
        ],
        axis=1,
    ).astype(np.float32)
    return jnp.concatenate([jnp.broadcast_to(run[None], (num_tensors, len(run))), fixed, statistics], axis=1)
