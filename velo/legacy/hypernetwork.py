"""The released per-tensor LSTM, its inputs and its two outputs (2211.09760; 2501.12670)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from velo import packing
from velo.hypernetwork import LSTMState
from velo.learned_optimizer import Theta
from velo.shapes import Float, PRNGKeyArray

FRACTIONS = (0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1)
NUM_RANKS = 5


class Outputs(NamedTuple):
    controls: Float[jax.Array, "tensors bank"]  # no columns where there is no bank to mix
    step_size: Float[jax.Array, " tensors"]


def truncated_normal(key: PRNGKeyArray, shape: tuple[int, ...], fan_in: int) -> jax.Array:
    """Haiku's default initialisation: cut off at two standard deviations of 1 / sqrt(fan_in)."""
    return jax.random.truncated_normal(key, -2.0, 2.0, shape) * fan_in**-0.5


def init_linear(key: PRNGKeyArray, num_inputs: int, num_outputs: int) -> Theta:
    return {"w": truncated_normal(key, (num_inputs, num_outputs), num_inputs), "b": jnp.zeros(num_outputs)}


def init_hypernetwork(key: PRNGKeyArray, num_inputs: int, lstm_size: int, num_mixtures: int) -> Theta:
    """`unused` is the reference's first mixing layer, whose output it overwrites: part of every released theta."""
    keys = jax.random.split(key, 6)
    theta = {
        "unused": init_linear(keys[0], num_inputs, lstm_size),
        "pool": init_linear(keys[1], num_inputs, lstm_size),
        "mix": init_linear(keys[2], num_inputs, lstm_size),
        "lstm": init_linear(keys[3], 2 * lstm_size, 4 * lstm_size),
        "step_size": init_linear(keys[4], lstm_size, 1),
        "initial_hidden": jnp.zeros(lstm_size),
        "initial_cell": jnp.zeros(lstm_size),
    }
    if num_mixtures > 0:
        theta["controls"] = init_linear(keys[5], lstm_size, num_mixtures)
    return theta


def linear(layer: Theta, x: Float[jax.Array, "tensors inputs"]) -> Float[jax.Array, "tensors outputs"]:
    return x @ layer["w"] + layer["b"][None]


def lstm_step(layer: Theta, state: LSTMState, x: Float[jax.Array, "tensors inputs"]) -> LSTMState:
    """Haiku's LSTM: one linear map of [x, hidden], gates in the order input, candidate, forget, output."""
    gates = linear(layer, jnp.concatenate([x, state.hidden], axis=1))
    update, candidate, forget, output = jnp.split(gates, 4, axis=1)
    cell = jax.nn.sigmoid(forget + 1.0) * state.cell + jax.nn.sigmoid(update) * jnp.tanh(candidate)
    return LSTMState(jax.nn.sigmoid(output) * jnp.tanh(cell), cell)


def apply_hypernetwork(
    theta: Theta, state: LSTMState, inputs: Float[jax.Array, "tensors inputs"]
) -> tuple[Outputs, LSTMState]:
    """One step for every tensor; they see each other through a maximum over all of them."""
    pooled = jax.nn.relu(linear(theta["pool"], inputs))
    pooled = jnp.max(pooled, axis=0, keepdims=True, initial=0.0)
    state = lstm_step(theta["lstm"], state, linear(theta["mix"], inputs) + pooled)
    step_size = linear(theta["step_size"], state.hidden)[:, 0]
    controls = linear(theta["controls"], state.hidden) if "controls" in theta else jnp.zeros((len(step_size), 0))
    return Outputs(controls, step_size), state


def fraction_features(fraction: Float[jax.Array, ""]) -> Float[jax.Array, " 9"]:
    return jnp.tanh(10.0 * (fraction - jnp.array(FRACTIONS)))


def run_inputs(
    num_tensors: int, fraction: Float[jax.Array, ""], loss_features: Float[jax.Array, " 9"]
) -> Float[jax.Array, "tensors 18"]:
    """What is the same for all tensors."""
    row = jnp.concatenate([fraction_features(fraction), loss_features])
    return jnp.broadcast_to(row[None], (num_tensors, len(row)))


def tensor_inputs(
    layout: packing.Layout,
    params: Float[jax.Array, "pages width"],
    momenta: Float[jax.Array, "decays pages width"],
    second_moment: Float[jax.Array, "pages width"],
) -> Float[jax.Array, "tensors 12"]:
    """Of each tensor: mean second moment, rank, variances of the momenta and of the second moment.

    All are taken from before this update, and divided (not squared) by the root mean square of the parameters.
    The "variance" of the second moment is about the mean of each momentum, as in the reference.
    """
    counts = jnp.asarray(np.maximum(layout.sizes, 1), jnp.float32)[:, None]
    pages_of, occupied = layout.tensor_of_page, layout.occupied

    def mean(pages):
        """Tensor means of several quantities, (quantities, pages, width) -> (tensors, quantities)."""
        return layout.sum_by_tensor(jnp.sum(pages * occupied[None], axis=2).T) / counts

    scale = jax.lax.rsqrt(jnp.maximum(1e-9, mean(jnp.square(params)[None])))[pages_of][None]
    momenta, second_moment = momenta * scale, (second_moment[None] * scale)
    mean_momenta = mean(momenta)
    centre = mean_momenta.T[:, pages_of, None]
    variance = mean(jnp.square(momenta - centre))
    spread = mean(jnp.square(second_moment - centre))
    ranks = [sum(size > 1 for size in shape) for shape in layout.shapes]
    one_hot = (np.array(ranks, int).reshape(-1, 1) == np.arange(NUM_RANKS)[None]).astype(np.float32)
    return jnp.concatenate(
        [_clip_log_abs(mean(second_moment)), one_hot, _clip_log_abs(variance), _clip_log_abs(spread)], axis=1
    )


def _clip_log_abs(x: jax.Array) -> jax.Array:
    return 0.5 * jnp.clip(jnp.log(1e-8 + jnp.abs(10.0 * x)), -5.0, 5.0)
