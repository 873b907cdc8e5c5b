"""What HyperV2 and Celo share: an LSTM over tensors steers a per-parameter network.

Sources: 2211.09760, 2501.12670. A subclass says what the LSTM reads and how its outputs are used.
"""

import abc
import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from velo.architectures import single_precision
from velo.architectures.lstm import LSTMState, init_lstm
from velo.architectures.published import accumulators, hypernetwork, loss_buffer, parameter_network, two_passes
from velo.architectures.published.arrangement import Arrangement, Factored
from velo.learned_optimizer import LearnedOptimizer, Theta
from velo.shapes import Float, Int, PRNGKeyArray

MOMENTUM_DECAYS = (0.9, 0.99, 0.999)
SECOND_MOMENT_DECAY = 0.999
FACTORED_DECAYS = (0.9, 0.99, 0.999)
NUM_PARAMETER_FEATURES = 30
NUM_OUTPUTS = 3  # direction, log magnitude, and an output that nothing reads
STEP_MULTIPLIER = 0.001
MAGNITUDE_MULTIPLIER = 0.001


class State(NamedTuple):
    """In float32; tensors are arranged by shape into parts (`arrangement`), and each part is packed into pages."""

    step: Int[jax.Array, ""]
    momenta: tuple[tuple[Float[jax.Array, "pages width"], ...], ...]  # three per part
    second_moment: tuple[Float[jax.Array, "pages width"], ...]
    factored: Factored
    statistics: Float[jax.Array, "tensors statistics"]  # of the averages, read by the next update
    loss_buffer: loss_buffer.LossBuffer
    lstm: LSTMState


@dataclasses.dataclass(frozen=True)
class SteeredOptimizer(LearnedOptimizer):
    """Common to HyperV2 and Celo; a subclass says what the LSTM reads and what its outputs mean."""

    num_statistics: ClassVar[int] = 0
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
        """Number of inputs of the LSTM for each tensor, those for the run included."""

    def page_statistics(self, momenta, second_moment, filled) -> Float[jax.Array, "pages sums"]:
        """Sums over each page that `statistics` needs, as `hypernetwork.page_sums` computes them; none by default."""
        del momenta, filled
        return jnp.zeros((second_moment.shape[0], 0))

    def statistics(self, arrangement: Arrangement, of_pages: list[jax.Array]) -> Float[jax.Array, "tensors statistics"]:
        """Statistics of each tensor's averages, which `tensor_inputs` reads in the next update; none by default."""
        del of_pages
        return jnp.zeros((len(arrangement.shapes), 0))

    @abc.abstractmethod
    def tensor_inputs(
        self,
        shapes: tuple[tuple[int, ...], ...],
        statistics: Float[jax.Array, "tensors statistics"],
        params_square: Float[jax.Array, " tensors"],
    ) -> Float[jax.Array, "tensors inputs"]:
        """Inputs of the LSTM for each tensor; they follow those for the run."""

    @abc.abstractmethod
    def bank_coefficients(self, controls: Float[jax.Array, "tensors bank"]) -> Float[jax.Array, "tensors bank"]:
        """Coefficients of the mean over the bank, from the LSTM's controls."""

    @abc.abstractmethod
    def step_scale(self, output: Float[jax.Array, " tensors"]) -> Float[jax.Array, " tensors"]:
        """Factor on each tensor's step, from the LSTM's output."""

    def loss_timescale(self, num_steps: int | Int[jax.Array, ""]) -> int | float | Int[jax.Array, ""]:
        """Number of steps that the longest average of the loss spans."""
        return num_steps

    def next_lstm(self, theta: Theta, state: LSTMState) -> LSTMState:
        """State of the LSTM that the next step starts from."""
        del theta
        return state

    @single_precision.initialization
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
            passes = self._two_passes(leaves)
            return State(
                jnp.zeros((), jnp.int32),
                *passes.init(),
                statistics=jnp.zeros((len(leaves), self.num_statistics)),
                loss_buffer=loss_buffer.init_loss_buffer(self.loss_timescale(num_steps)),
                lstm=init_lstm(theta["hypernetwork"], len(leaves)),
            )

        def update(updates, state, params, loss):
            return self._update(theta, num_steps, updates, state, params, loss)

        return single_precision.transformation(init, update)

    def _update(self, theta, num_steps, grads, state, params, loss):
        leaves, treedef = jax.tree.flatten(params)
        passes = self._two_passes(leaves)
        arrangement = passes.arrangement
        averages, tensors = passes.accumulate(
            two_passes.Averages(state.momenta, state.second_moment, state.factored),
            arrangement.sort(treedef.flatten_up_to(grads)),
            arrangement.pack(arrangement.sort(leaves)),
            two_passes.Decays(MOMENTUM_DECAYS, SECOND_MOMENT_DECAY, jnp.array(FACTORED_DECAYS)),
        )
        state = state._replace(loss_buffer=loss_buffer.update_loss_buffer(state.loss_buffer, loss))
        params_square = passes.params_square(tensors)
        inputs = self.tensor_inputs(tuple(arrangement.sort(arrangement.shapes)), state.statistics, params_square)
        outputs, lstm = self.control(theta, num_steps, state, inputs)
        networks = parameter_network.mix_bank(theta["bank"], self.bank_coefficients(outputs.controls))
        size = jnp.sqrt(params_square + 1e-9) * self.step_scale(outputs.step_size) * STEP_MULTIPLIER
        steps = arrangement.restore(passes.steps(averages, tensors, networks, -size, MAGNITUDE_MULTIPLIER))
        updates = [step.astype(leaf.dtype) for step, leaf in zip(steps, leaves, strict=True)]
        lstm = self.next_lstm(theta["hypernetwork"], lstm)
        statistics = self.statistics(arrangement, tensors.page_statistics)
        return treedef.unflatten(updates), State(state.step + 1, *averages, statistics, state.loss_buffer, lstm)

    def control(
        self,
        theta: Theta,
        num_steps: int | Int[jax.Array, ""],
        state: Any,
        tensor_inputs: Float[jax.Array, "tensors inputs"],
    ) -> tuple[hypernetwork.Outputs, LSTMState]:
        """One step of the LSTM.

        Args:
            theta: of the whole optimizer.
            num_steps: length of the run.
            state: the state before this update, except that the loss buffer has this update's loss.
            tensor_inputs: those of `tensor_inputs`, from the averages before this update.
        """
        fraction = state.step / jnp.asarray(num_steps, jnp.float32)
        loss_features = loss_buffer.loss_features(state.loss_buffer)
        run = hypernetwork.run_inputs(tensor_inputs.shape[0], fraction, loss_features)
        inputs = jnp.concatenate([run, tensor_inputs], axis=1)
        return hypernetwork.apply_hypernetwork(theta["hypernetwork"], state.lstm, inputs)

    def _two_passes(self, leaves: list) -> two_passes.TwoPasses:
        return two_passes.TwoPasses(
            Arrangement(tuple(jnp.shape(leaf) for leaf in leaves)),
            with_clipped=True,
            max_gradient=accumulators.MAX_GRADIENT,
            unfactored_epsilon=0.0,
            page_statistics=self.page_statistics,
        )
