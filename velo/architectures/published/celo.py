"""Celo: a small LSTM over tensors that scales the step of one per-parameter network, or of Adam.

Source: 2501.12670.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from velo.architectures import single_precision
from velo.architectures.lstm import LSTMState, init_lstm
from velo.architectures.published import accumulators, hypernetwork, loss_buffer, steered
from velo.learned_optimizer import LearnedOptimizer, Theta
from velo.shapes import Float, Int, PRNGKeyArray

NUM_RUN_INPUTS = 18
STEP_FACTOR = 0.1


@dataclasses.dataclass(frozen=True)
class Celo(steered.SteeredOptimizer):
    """Its LSTM reads the fraction of training and the loss only. The defaults are the released sizes."""

    lstm_size: int = 64
    num_mixtures: int = 1

    @property
    def num_tensor_inputs(self) -> int:
        return NUM_RUN_INPUTS

    def tensor_inputs(
        self,
        shapes: tuple[tuple[int, ...], ...],
        statistics: Float[jax.Array, "tensors statistics"],
        params_square: Float[jax.Array, " tensors"],
    ) -> Float[jax.Array, "tensors inputs"]:
        del statistics, params_square
        return jnp.zeros((len(shapes), 0))

    def bank_coefficients(self, controls: Float[jax.Array, "tensors bank"]) -> Float[jax.Array, "tensors bank"]:
        return jax.nn.softmax(controls, axis=1)

    def step_scale(self, output: Float[jax.Array, " tensors"]) -> Float[jax.Array, " tensors"]:
        return STEP_FACTOR * jnp.exp(output)


class AdamState(NamedTuple):
    """In float32; the moments have the tree of the parameters."""

    step: Int[jax.Array, ""]
    momentum: optax.Params
    second_moment: optax.Params
    loss_buffer: loss_buffer.LossBuffer
    lstm: LSTMState


@dataclasses.dataclass(frozen=True)
class CeloAdam(LearnedOptimizer):
    """Adam whose learning rate is learned, for every tensor and step.

    The reference also keeps factored second moments that nothing reads; they are left out.
    """

    lstm_size: int = 64
    momentum_decay: float = 0.9
    second_moment_decay: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self):
        if self.lstm_size < 1:
            raise ValueError(f"CeloAdam: lstm_size must be at least 1, got {self.lstm_size}")
        for name in ("momentum_decay", "second_moment_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"CeloAdam: {name} must be in [0, 1), got {getattr(self, name)}")

    @single_precision.initialization
    def init(self, key: PRNGKeyArray) -> Theta:
        return {
            "hypernetwork": hypernetwork.init_hypernetwork(key, NUM_RUN_INPUTS, self.lstm_size, num_mixtures=0),
        }

    def bind(self, theta: Theta, num_steps: int | Int[jax.Array, ""]) -> optax.GradientTransformationExtraArgs:
        def init(params):
            return AdamState(
                step=jnp.zeros((), jnp.int32),
                momentum=optax.tree.zeros_like(params, dtype=jnp.float32),
                second_moment=optax.tree.zeros_like(params, dtype=jnp.float32),
                loss_buffer=loss_buffer.init_loss_buffer(num_steps),
                lstm=init_lstm(theta["hypernetwork"], len(jax.tree.leaves(params))),
            )

        def update(updates, state, params, loss):
            return self._update(theta, num_steps, updates, state, params, loss)

        return single_precision.transformation(init, update)

    def _update(self, theta, num_steps, grads, state, params, loss):
        leaves, treedef = jax.tree.flatten(params)
        buffer = loss_buffer.update_loss_buffer(state.loss_buffer, loss)
        fraction = state.step / jnp.asarray(num_steps, jnp.float32)
        inputs = hypernetwork.run_inputs(len(leaves), fraction, loss_buffer.loss_features(buffer))
        outputs, lstm = hypernetwork.apply_hypernetwork(theta["hypernetwork"], state.lstm, inputs)
        rates = steered.STEP_MULTIPLIER * STEP_FACTOR * jnp.exp(outputs.step_size)

        grads = accumulators.clean(treedef.flatten_up_to(grads), accumulators.MAX_GRADIENT)
        momentum = _average(treedef.flatten_up_to(state.momentum), grads, self.momentum_decay)
        squares = [jnp.square(grad) for grad in grads]
        second_moment = _average(treedef.flatten_up_to(state.second_moment), squares, self.second_moment_decay)
        count = (state.step + 1).astype(jnp.float32)
        momentum_weight = 1.0 - jnp.float32(self.momentum_decay) ** count
        second_weight = 1.0 - jnp.float32(self.second_moment_decay) ** count
        updates = [
            (-rate * (m / momentum_weight) / (jnp.sqrt(v / second_weight + 1e-10) + self.epsilon)).astype(leaf.dtype)
            for m, v, rate, leaf in zip(momentum, second_moment, rates, leaves, strict=True)
        ]
        state = AdamState(state.step + 1, treedef.unflatten(momentum), treedef.unflatten(second_moment), buffer, lstm)
        return treedef.unflatten(updates), state


def _average(old: list[jax.Array], new: list[jax.Array], decay: float) -> list[jax.Array]:
    return [accumulators.average_once(a, b, decay) for a, b in zip(old, new, strict=True)]
