"""The released hypernetwork, an LSTM over tensors: inputs, step and two outputs (2211.09760; 2501.12670)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from velo.architectures.lstm import LSTMState
from velo.architectures.pages import Layout
from velo.learned_optimizer import Theta
from velo.shapes import Float, PRNGKeyArray

FRACTIONS = (0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1)
NUM_RANKS = 5


class Outputs(NamedTuple):
    """Outputs of the LSTM for each tensor."""

    controls: Float[jax.Array, "tensors bank"]  # no columns without a bank
    step_size: Float[jax.Array, " tensors"]


def truncated_normal(key: PRNGKeyArray, shape: tuple[int, ...], fan_in: int) -> jax.Array:
    """Haiku's default: a normal of standard deviation 1 / sqrt(fan_in), truncated at two standard deviations."""
    return jax.random.truncated_normal(key, -2.0, 2.0, shape) * fan_in**-0.5


def init_linear(key: PRNGKeyArray, num_inputs: int, num_outputs: int) -> Theta:
    """A linear map of Haiku's default initialisation, with a bias of zero."""
    return {"w": truncated_normal(key, (num_inputs, num_outputs), num_inputs), "b": jnp.zeros(num_outputs)}


def init_hypernetwork(key: PRNGKeyArray, num_inputs: int, lstm_size: int, num_mixtures: int) -> Theta:
    """Haiku's initialisation of all layers.

    `unused` is the reference's first mixing layer. Its output is overwritten there, but every released theta has it.
    """
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
    """x w + b."""
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
    """One step of the LSTM for every tensor; tensors exchange information through a maximum over all of them."""
    pooled = jax.nn.relu(linear(theta["pool"], inputs))
    pooled = jnp.max(pooled, axis=0, keepdims=True, initial=0.0)
    state = lstm_step(theta["lstm"], state, linear(theta["mix"], inputs) + pooled)
    step_size = linear(theta["step_size"], state.hidden)[:, 0]
    controls = linear(theta["controls"], state.hidden) if "controls" in theta else jnp.zeros((len(step_size), 0))
    return Outputs(controls, step_size), state


def fraction_features(fraction: Float[jax.Array, ""]) -> Float[jax.Array, " 9"]:
    """tanh(10 (fraction - t)) for each t of `FRACTIONS`."""
    return jnp.tanh(10.0 * (fraction - jnp.array(FRACTIONS)))


def run_inputs(
    num_tensors: int, fraction: Float[jax.Array, ""], loss_features: Float[jax.Array, " 9"]
) -> Float[jax.Array, "tensors 18"]:
    """The inputs that are the same for all tensors: fraction of training and loss features."""
    row = jnp.concatenate([fraction_features(fraction), loss_features])
    return jnp.broadcast_to(row[None], (num_tensors, len(row)))


def page_sums(
    momenta: tuple[Float[jax.Array, "pages width"], ...],
    second_moment: Float[jax.Array, "pages width"],
    filled: Float[jax.Array, "pages 1"],
) -> Float[jax.Array, "pages 8"]:
    """Of each page: the sums of the four averages, and the sums of their squared distances from the page's mean.

    Squares about the page's mean keep their digits where the mean is larger than the deviation.
    """
    occupied = jnp.arange(second_moment.shape[1])[None] < filled
    averages = [*momenta, second_moment]
    sums = [jnp.sum(x, axis=1, keepdims=True) for x in averages]
    means = [total / jnp.maximum(filled, 1.0) for total in sums]
    centred = [jnp.where(occupied, jnp.square(x - mean), 0.0) for x, mean in zip(averages, means, strict=True)]
    return jnp.concatenate([*sums, *(jnp.sum(x, axis=1, keepdims=True) for x in centred)], axis=1)


def means_and_variances(layout: Layout, of_pages: Float[jax.Array, "pages 8"]) -> Float[jax.Array, "tensors 8"]:
    """Mean and variance of the four averages over each tensor, from `page_sums`."""
    counts = np.maximum(layout.sizes, 1).astype(np.float32)[:, None]
    filled = np.maximum(layout.filled, 1).astype(np.float32)[:, None]
    sums, squares = jnp.split(of_pages, 2, axis=1)
    means = layout.sum_by_tensor(sums) / counts
    between = filled * jnp.square(sums / filled - means[layout.tensor_of_page])
    return jnp.concatenate([means, layout.sum_by_tensor(squares + between) / counts], axis=1)


def tensor_inputs(
    shapes: tuple[tuple[int, ...], ...],
    statistics: Float[jax.Array, "tensors 8"],
    params_square: Float[jax.Array, " tensors"],
) -> Float[jax.Array, "tensors 12"]:
    """Inputs of each tensor: mean second moment, rank, variances of the momenta and of the second moment.

    The mean is divided by the root mean square of the parameters, variances by their mean square; both enter as clipped
    logarithms. The rank is one-hot. As in the reference, the "variance" of the second moment is taken about the mean of
    each momentum, so that there are three.

    Args:
        shapes: of the tensors.
        statistics: `means_and_variances` of the averages before this update.
        params_square: mean square of the parameters.
    """
    scale = jax.lax.rsqrt(jnp.maximum(1e-9, params_square))[:, None]
    mean_momenta, mean_square = jnp.split(statistics[:, :4] * scale, [3], axis=1)
    variance, variance_of_square = jnp.split(statistics[:, 4:] * jnp.square(scale), [3], axis=1)
    spread = variance_of_square + jnp.square(mean_square - mean_momenta)
    ranks = [sum(size > 1 for size in shape) for shape in shapes]
    one_hot = (np.array(ranks, int).reshape(-1, 1) == np.arange(NUM_RANKS)[None]).astype(np.float32)
    return jnp.concatenate(
        [_clip_log_abs(mean_square), one_hot, _clip_log_abs(variance), _clip_log_abs(spread)], axis=1
    )


def _clip_log_abs(x: jax.Array) -> jax.Array:
    return 0.5 * jnp.clip(jnp.log(1e-8 + jnp.abs(10.0 * x)), -5.0, 5.0)
