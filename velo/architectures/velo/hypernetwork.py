"""The per-tensor LSTM: reads a row of inputs per tensor; returns mixing controls, log step and share of Adam's step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from velo.architectures.lstm import LSTMState
from velo.learned_optimizer import Theta
from velo.shapes import Float, PRNGKeyArray


class Controls(NamedTuple):
    """Outputs of the LSTM for each tensor."""

    mixture: Float[jax.Array, "tensors bank"]
    log_step: Float[jax.Array, " tensors"]
    elementwise: Float[jax.Array, " tensors"]  # share of Adam's direction in the original coordinates, not clipped yet


def dense(layer: Theta, x: Float[jax.Array, "tensors inputs"]) -> Float[jax.Array, "tensors outputs"]:
    """x w / sqrt(inputs) + b.

    The factor is applied here and not in the weights, so that all of theta is of order one: evolution strategies
    perturb it with a single sigma.
    """
    return x @ layer["w"] * layer["w"].shape[0] ** -0.5 + layer["b"][None]


def init_dense(key: PRNGKeyArray, num_inputs: int, num_outputs: int, scale: float = 1.0) -> Theta:
    """Normal weights of standard deviation `scale`, and a bias of zero."""
    return {"w": scale * jax.random.normal(key, (num_inputs, num_outputs)), "b": jnp.zeros(num_outputs)}


def init_hypernetwork(
    key: PRNGKeyArray, num_inputs: int, lstm_size: int, num_mixtures: int, *, has_basis: bool
) -> Theta:
    """Random inner layers. The output layers are zero, and so are untrained controls, log steps and shares."""
    key_input, key_pool, key_mix, key_lstm = jax.random.split(key, 4)
    theta = {
        "input": init_dense(key_input, num_inputs, lstm_size),
        "pool": init_dense(key_pool, num_inputs, lstm_size),
        "mix": init_dense(key_mix, lstm_size, lstm_size),
        "lstm": init_dense(key_lstm, 2 * lstm_size, 4 * lstm_size),
        "initial_hidden": jnp.zeros(lstm_size),
        "initial_cell": jnp.zeros(lstm_size),
        "controls": init_dense(key, lstm_size, num_mixtures, scale=0.0),
        "log_step": init_dense(key, lstm_size + num_inputs, 1, scale=0.0),
    }
    if has_basis:
        theta["elementwise"] = init_dense(key, lstm_size + num_inputs, 1, scale=0.0)
    return theta


def apply_hypernetwork(
    theta: Theta, state: LSTMState, inputs: Float[jax.Array, "tensors inputs"]
) -> tuple[Controls, LSTMState]:
    """One step of the LSTM for every tensor (2211.09760, section on the architecture).

    Tensors exchange information through a maximum over all of them. The log step and the share of Adam's direction
    read the features directly too, so that a plain schedule is a linear function of theta.
    """
    pooled = jnp.max(jax.nn.relu(dense(theta["pool"], inputs)), axis=0, keepdims=True)
    mixed = dense(theta["mix"], jax.nn.relu(dense(theta["input"], inputs))) + pooled
    gates = dense(theta["lstm"], jnp.concatenate([mixed, state.hidden], axis=1))
    update, candidate, forget, output = jnp.split(gates, 4, axis=1)
    cell = jax.nn.sigmoid(forget + 1.0) * state.cell + jax.nn.sigmoid(update) * jnp.tanh(candidate)
    hidden = jax.nn.sigmoid(output) * jnp.tanh(cell)
    read = jnp.concatenate([hidden, inputs], axis=1)
    log_step = dense(theta["log_step"], read)[:, 0]
    share = dense(theta["elementwise"], read)[:, 0] if "elementwise" in theta else jnp.zeros_like(log_step)
    return Controls(dense(theta["controls"], hidden), log_step, share), LSTMState(hidden, cell)
