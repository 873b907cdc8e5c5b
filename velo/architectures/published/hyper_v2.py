"""HyperV2: the VeLO of 2211.09760 as it was released, an LSTM over tensors that mixes a bank of per-parameter networks.

This project's own architecture is `velo.VeLO`. Two mistakes of the reference are options named legacy, off by default.
How it handles broken gradients and losses is not reproduced (marked "Deviation:" in this folder).
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from velo.architectures.lstm import LSTMState, init_lstm
from velo.architectures.published import hypernetwork, loss_buffer, steered
from velo.architectures.published.arrangement import Arrangement
from velo.learned_optimizer import Theta
from velo.shapes import Float, Int

BANK_FACTOR = 100.0


@dataclasses.dataclass(frozen=True)
class HyperV2(steered.SteeredOptimizer):
    """The architecture; the defaults are the sizes of the released weights."""

    num_statistics: ClassVar[int] = 8
    lstm_size: int = 512
    num_mixtures: int = 256
    legacy_lstm_state: bool = False
    """The LSTM starts every step from its initial state and drops the new one. Google's checkpoints that come without a
    configuration were trained with this and with `legacy_loss_features`."""
    legacy_loss_features: bool = False
    """All ten averages of the loss span ten steps, so that the loss features are -1 or 0."""

    @property
    def num_tensor_inputs(self) -> int:
        return 30

    def page_statistics(self, momenta, second_moment, filled):
        return hypernetwork.page_sums(momenta, second_moment, filled)

    def statistics(self, arrangement: Arrangement, of_pages: list[jax.Array]) -> Float[jax.Array, "tensors statistics"]:
        parts = zip(arrangement.parts, of_pages, strict=True)
        return jnp.concatenate([hypernetwork.means_and_variances(part.layout, sums) for part, sums in parts])

    def tensor_inputs(
        self,
        shapes: tuple[tuple[int, ...], ...],
        statistics: Float[jax.Array, "tensors statistics"],
        params_square: Float[jax.Array, " tensors"],
    ) -> Float[jax.Array, "tensors inputs"]:
        return hypernetwork.tensor_inputs(shapes, statistics, params_square)

    def bank_coefficients(self, controls: Float[jax.Array, "tensors bank"]) -> Float[jax.Array, "tensors bank"]:
        return BANK_FACTOR * controls

    def step_scale(self, output: Float[jax.Array, " tensors"]) -> Float[jax.Array, " tensors"]:
        return output

    def loss_timescale(self, num_steps: int | Int[jax.Array, ""]) -> int | float | Int[jax.Array, ""]:
        return loss_buffer.LEGACY_NUM_STEPS if self.legacy_loss_features else num_steps

    def next_lstm(self, theta: Theta, state: LSTMState) -> LSTMState:
        return init_lstm(theta, state.hidden.shape[0]) if self.legacy_lstm_state else state
