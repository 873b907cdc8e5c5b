"""What HyperV2 and Celo share: an LSTM over tensors steers a per-parameter network.

Sources: 2211.09760, 2501.12670.
"""

import abc
import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from velo import packing
from velo.hypernetwork import LSTMState, init_lstm
from velo.learned_optimizer import LearnedOptimizer, Theta, check_update_arguments
from velo.legacy import accumulators, hypernetwork, loss_buffer, parameter_network
from velo.shapes import Float, Int, PRNGKeyArray

MOMENTUM_DECAYS = (0.9, 0.99, 0.999)
SECOND_MOMENT_DECAY = 0.999
FACTORED_DECAYS = (0.9, 0.99, 0.999)
NUM_PARAMETER_FEATURES = 30
NUM_OUTPUTS = 3  # direction, log magnitude, and one that nothing reads
STEP_MULTIPLIER = 0.001
MAGNITUDE_MULTIPLIER = 0.001


class State(NamedTuple):
    """In float32; pages as in `velo.packing`."""

    step: Int[jax.Array, ""]
    momenta: Float[jax.Array, "decays pages width"]
    second_moment: Float[jax.Array, "pages width"]
    factored: accumulators.Factored
    loss_buffer: loss_buffer.LossBuffer
    lstm: LSTMState


@dataclasses.dataclass(frozen=True)
class SteeredOptimizer(LearnedOptimizer):
    """Common to both; the subclasses say what the LSTM reads and what its outputs mean."""

    lstm_size: int
    num_mixtures: int
    mlp_width: int = 4
    mlp_depth: int = 2

    def __post_init__(self):
        for name in ("lstm_size", "num_mixtures", "mlp_width", "mlp_depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{type(self).__name__}: {name} must be at least 1, got {getattr(self, name)}")

    @property
    @abc.abstractmethod
    def num_tensor_inputs(self) -> int:
        """Inputs of the LSTM."""

    @abc.abstractmethod
    def tensor_inputs(
        self, layout: packing.Layout, params: Float[jax.Array, "pages width"], state: State
    ) -> Float[jax.Array, "tensors inputs"]:
        """What the LSTM reads of each tensor, after what it reads of the run."""

    @abc.abstractmethod
    def mixture(self, controls: Float[jax.Array, "tensors bank"]) -> Float[jax.Array, "tensors bank"]:
        """Coefficients of the mean over the bank."""

    @abc.abstractmethod
    def step_scale(self, output: Float[jax.Array, " tensors"]) -> Float[jax.Array, " tensors"]:
        """What each tensor's step is multiplied by."""

    def loss_timescale(self, num_steps: int | Int[jax.Array, ""]) -> int | float | Int[jax.Array, ""]:
        """Steps that the longest average of the loss spans."""
        return num_steps

    def next_lstm(self, theta: Theta, state: LSTMState) -> LSTMState:
        """What the next step starts from."""
        del theta
        return state

    def init(self, key: PRNGKeyArray) -> Theta:
        key_hypernetwork, key_bank = jax.random.split(key)
        sizes = (NUM_PARAMETER_FEATURES, *[self.mlp_width] * self.mlp_depth, NUM_OUTPUTS)
        return {
            "hypernetwork": hypernetwork.init_hypernetwork(
                key_hypernetwork, self.num_tensor_inputs, self.lstm_size, self.num_mixtures
            ),
            "bank": parameter_network.init_bank(key_bank, self.num_mixtures, sizes),
        }

    def bind(self, theta: Theta, num_steps: int | Int[jax.Array, ""]) -> optax.GradientTransformationExtraArgs:
        def init(params):
            leaves = jax.tree.leaves(params)
            shapes = tuple(jnp.shape(leaf) for leaf in leaves)
            zeros = packing.Layout(shapes).zeros()
            return State(
                step=jnp.zeros((), jnp.int32),
                momenta=jnp.zeros((len(MOMENTUM_DECAYS), *zeros.shape)),
                second_moment=zeros,
                factored=accumulators.Factoring(shapes).init(len(FACTORED_DECAYS)),
                loss_buffer=loss_buffer.init_loss_buffer(self.loss_timescale(num_steps)),
                lstm=init_lstm(theta["hypernetwork"], len(leaves)),
            )

        def update(updates, state, params=None, *, value=None, **extra_args):
            del extra_args
            check_update_arguments(params, value)
            with jax.default_matmul_precision("highest"):
                return self._update(theta, num_steps, updates, state, params, jnp.asarray(value))

        return optax.GradientTransformationExtraArgs(init, update)

    def _update(self, theta, num_steps, grads, state, params, loss):
        leaves, treedef = jax.tree.flatten(params)
        layout = packing.Layout(tuple(jnp.shape(leaf) for leaf in leaves))
        weights = layout.pack(leaves)
        state = state._replace(loss_buffer=loss_buffer.update_loss_buffer(state.loss_buffer, loss))
        outputs, lstm = self.control(theta, num_steps, layout, weights, state)
        state, features = accumulate(layout, state, treedef.flatten_up_to(grads), weights)
        networks = parameter_network.mix_bank(theta["bank"], self.mixture(outputs.controls))
        scales = parameter_network.normalizers(layout, features)
        out = parameter_network.apply_network(layout, networks, features, scales)
        size = parameter_network.root_mean_square(layout, weights) * self.step_scale(outputs.step_size)
        direction = out[:, 0] * jnp.exp(MAGNITUDE_MULTIPLIER * out[:, 1]) * STEP_MULTIPLIER
        steps = layout.unpack(direction * size[layout.tensor_of_page][:, None])
        updates = [-step.astype(leaf.dtype) for step, leaf in zip(steps, leaves, strict=True)]
        state = state._replace(step=state.step + 1, lstm=self.next_lstm(theta["hypernetwork"], lstm))
        return treedef.unflatten(updates), state

    def control(
        self,
        theta: Theta,
        num_steps: int | Int[jax.Array, ""],
        layout: packing.Layout,
        params: Float[jax.Array, "pages width"],
        state: State,
    ) -> tuple[hypernetwork.Outputs, LSTMState]:
        """What the LSTM says, given the loss buffer after and the accumulators before this update."""
        fraction = state.step / jnp.asarray(num_steps, jnp.float32)
        run = hypernetwork.run_inputs(len(layout.shapes), fraction, loss_buffer.loss_features(state.loss_buffer))
        inputs = jnp.concatenate([run, self.tensor_inputs(layout, params, state)], axis=1)
        return hypernetwork.apply_hypernetwork(theta["hypernetwork"], state.lstm, inputs)


def accumulate(
    layout: packing.Layout, state: State, grads: list[jax.Array], params: Float[jax.Array, "pages width"]
) -> tuple[State, Float[jax.Array, "pages inputs width"]]:
    """The averages after these gradients, and the inputs of the per-parameter network."""
    grads = accumulators.clean(grads, accumulators.MAX_GRADIENT)
    grad = layout.pack(grads)
    momenta = accumulators.average(state.momenta, grad, jnp.array(MOMENTUM_DECAYS))
    second_moment = accumulators.average_once(state.second_moment, jnp.square(grad), SECOND_MOMENT_DECAY)
    factored, features = accumulators.Factoring(layout.shapes).update(
        state.factored, grads, jnp.array(FACTORED_DECAYS), unfactored_epsilon=0.0
    )
    pages = parameter_network.factored_pages(layout, features)
    rows = parameter_network.parameter_features(grad, params, momenta, second_moment, pages, with_clipped=True)
    columns = parameter_network.by_page(layout, rows)
    return state._replace(momenta=momenta, second_moment=second_moment, factored=factored), columns
