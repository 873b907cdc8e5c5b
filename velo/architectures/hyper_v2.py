"""HyperV2: VeLO as it was released, an LSTM over tensors that mixes a bank of per-parameter networks.

Source: 2211.09760. What the reference does by accident is behind options named legacy, off by default; what it does to
broken gradients and losses is not reproduced (`velo.legacy`, marked as deviations).
"""

import dataclasses

import jax

from velo import packing
from velo.hypernetwork import LSTMState, init_lstm
from velo.learned_optimizer import Theta
from velo.legacy import hypernetwork, loss_buffer, steered
from velo.shapes import Float, Int

BANK_FACTOR = 100.0


@dataclasses.dataclass(frozen=True)
class HyperV2(steered.SteeredOptimizer):
    """The architecture; the defaults are the sizes of the released weights."""

    lstm_size: int = 512
    num_mixtures: int = 256
    legacy_lstm_state: bool = False
    """The LSTM starts from its initial state at every step, its new state thrown away. Google's checkpoints without a
    configuration beside them were trained with this and with `legacy_loss_features`."""
    legacy_loss_features: bool = False
    """All ten averages of the loss span ten steps, so that its features are -1 or 0."""

    @property
    def num_tensor_inputs(self) -> int:
        return 30

    def tensor_inputs(
        self, layout: packing.Layout, params: Float[jax.Array, "pages width"], state: steered.State
    ) -> Float[jax.Array, "tensors inputs"]:
        return hypernetwork.tensor_inputs(layout, params, state.momenta, state.second_moment)

    def mixture(self, controls: Float[jax.Array, "tensors bank"]) -> Float[jax.Array, "tensors bank"]:
        return BANK_FACTOR * controls

    def step_scale(self, output: Float[jax.Array, " tensors"]) -> Float[jax.Array, " tensors"]:
        return output

    def loss_timescale(self, num_steps: int | Int[jax.Array, ""]) -> int | float | Int[jax.Array, ""]:
        return loss_buffer.LEGACY_NUM_STEPS if self.legacy_loss_features else num_steps

    def next_lstm(self, theta: Theta, state: LSTMState) -> LSTMState:
        return init_lstm(theta, state.hidden.shape[0]) if self.legacy_lstm_state else state
