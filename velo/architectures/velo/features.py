"""Bounded features of which the hypernetwork's inputs are made: fraction of the run, rank, ratios, loss history."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from velo.shapes import Bool, Float, Int

NUM_FRACTIONS = 9
NUM_TIMESCALES = 10
NUM_LOSS_FEATURES = NUM_TIMESCALES - 1
NUM_RANKS = 5


def fraction_features(fraction: Float[jax.Array, ""]) -> Float[jax.Array, " 9"]:
    """Smooth steps along the run, tanh(10 (fraction - t)) for t = 0, 1/8, ..., 1 (2211.09760, appendix on inputs)."""
    return jnp.tanh(10.0 * (fraction - jnp.linspace(0.0, 1.0, NUM_FRACTIONS)))


def rank_one_hot(shape: tuple[int, ...]) -> np.ndarray:
    """One-hot of the number of dimensions longer than one, at most four."""
    rank = min(sum(size > 1 for size in shape), NUM_RANKS - 1)
    return np.eye(NUM_RANKS)[rank]


def log_ratio(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
    """0.2 log(numerator / denominator) of two non-negative quantities, clipped to [-2, 2]."""
    tiny = 1e-30
    return jnp.clip(0.2 * (jnp.log(numerator + tiny) - jnp.log(denominator + tiny)), -2.0, 2.0)


@jax.custom_jvp
def root(square: jax.Array) -> jax.Array:
    """Square root with a derivative of zero at zero, where the usual one makes a meta-gradient infinity times zero."""
    return jnp.sqrt(square)


@root.defjvp
def _root_jvp(primals, tangents):
    (square,), (tangent,) = primals, tangents
    value = jnp.sqrt(square)
    is_positive = value > 0
    return value, jnp.where(is_positive, tangent / jnp.where(is_positive, 2.0 * value, 1.0), 0.0)


class LossHistory(NamedTuple):
    """Averages of the training loss over ten timescales from one step to the whole run."""

    means: Float[jax.Array, " 10"]
    weights: Float[jax.Array, " 10"]  # the same averages of the constant 1: exact bias correction
    noise: Float[jax.Array, ""]  # average distance of a loss from the average over the second-shortest timescale


def init_loss_history() -> LossHistory:
    """The history before the first loss."""
    return LossHistory(jnp.zeros(NUM_TIMESCALES), jnp.zeros(NUM_TIMESCALES), jnp.zeros(()))


def update_loss_history(
    history: LossHistory, loss: Float[jax.Array, ""], num_steps: Float[jax.Array, ""] | Int[jax.Array, ""] | int
) -> LossHistory:
    """Adds a loss; a non-finite one leaves the history as it was."""
    exponents = jnp.linspace(0.0, 1.0, NUM_TIMESCALES)
    timescales = jnp.maximum(jnp.asarray(num_steps, jnp.float32), 2.0) ** exponents
    rates = 1.0 / timescales
    finite = jnp.isfinite(loss)
    loss = jnp.where(finite, loss.astype(jnp.float32), 0.0)
    means = history.means + rates * (loss - history.means)
    weights = history.weights + rates * (1.0 - history.weights)
    deviation = jnp.abs(loss - means[1] / weights[1])
    noise = history.noise + 0.05 * (deviation - history.noise)
    updated = LossHistory(means, weights, noise)
    return jax.tree.map(lambda new, old: jnp.where(finite, new, old), updated, history)


def is_rising(history: LossHistory) -> Bool[jax.Array, ""]:
    """Whether the loss over the last few steps is above its average over many, by more than the noise.

    The two timescales are num_steps ** (2/9) and num_steps ** (2/3): 5 and 100 of 1,000 steps.
    """
    means = history.means / jnp.maximum(history.weights, 1e-12)
    return means[2] > means[6] + history.noise


def loss_features(history: LossHistory) -> Float[jax.Array, " 9"]:
    """The decrease of the loss from each timescale to the next shorter one, over the sum of the absolute decreases and
    the noise.

    Each feature lies in [-1, 1] and is positive while the loss falls. It doesn't change when the loss is scaled. It
    doesn't change either when the loss is shifted, unless the decreases are as small as float32's rounding of the loss.
    """
    means = history.means / jnp.maximum(history.weights, 1e-12)
    falls = means[1:] - means[:-1]
    rounding = 1e-5 * jnp.max(jnp.abs(means)) + 1e-30
    return falls / (jnp.sum(jnp.abs(falls)) + history.noise + rounding)
