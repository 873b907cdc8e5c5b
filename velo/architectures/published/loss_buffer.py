"""The released VeLO's history of the training loss: averages at ten timescales and their minima (2211.09760)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from velo.shapes import Float, Int

NUM_TIMESCALES = 10
NUM_FEATURES = NUM_TIMESCALES - 1
SHORTEST_HALF_LIFE = 10.0
LEGACY_NUM_STEPS = 10.0
LARGE = 999999999999.0


class LossBuffer(NamedTuple):
    """Averages of the loss at ten time constants, from ten steps to the whole run."""

    means: Float[jax.Array, " 10"]  # not bias-corrected
    corrected: Float[jax.Array, " 10"]  # the same, bias-corrected; the features compare it with the minimum
    running_min: Float[jax.Array, " 10"]  # of `corrected`
    decays: Float[jax.Array, " 10"]
    iteration: Int[jax.Array, ""]


def init_loss_buffer(num_steps: Float[jax.Array, ""] | Int[jax.Array, ""] | float | int) -> LossBuffer:
    """The buffer before the first loss: decays exp(-1 / t) for log-spaced t from ten steps to `num_steps`.

    The reference calls t a half-life; it is a time constant.
    """
    exponents = jnp.linspace(1.0, jnp.log10(jnp.asarray(num_steps, jnp.float32)), NUM_TIMESCALES)
    decays = jnp.exp(-1.0 / jnp.power(SHORTEST_HALF_LIFE, exponents))
    return LossBuffer(
        means=jnp.zeros(NUM_TIMESCALES),
        corrected=jnp.zeros(NUM_TIMESCALES),  # an array of its own: states get donated
        running_min=jnp.full(NUM_TIMESCALES, LARGE, jnp.float32),
        decays=decays,
        iteration=jnp.zeros((), jnp.int32),
    )


def update_loss_buffer(buffer: LossBuffer, loss: Float[jax.Array, ""]) -> LossBuffer:
    """Adds a loss, clipped to twice the largest of the averages so far.

    Deviation: in the reference a NaN or minus infinity breaks the averages for good; here such a loss changes nothing,
    and neither does plus infinity as the first loss. Later, plus infinity is clipped, as in the reference.
    """
    correction = 1.0 - buffer.decays ** (buffer.iteration + 1)
    largest = jnp.where(buffer.iteration == 0, loss, jnp.max(buffer.means / correction))
    clipped = jnp.minimum(2.0 * jnp.abs(largest), loss).astype(jnp.float32)
    means = buffer.means * buffer.decays + clipped * (1.0 - buffer.decays)
    corrected = means / correction
    running_min = jnp.minimum(buffer.running_min, corrected)
    updated = LossBuffer(means, corrected, running_min, buffer.decays, buffer.iteration + 1)
    usable = jnp.isfinite(clipped)
    return jax.tree.map(lambda new, old: jnp.where(usable, new, old), updated, buffer)


def loss_features(buffer: LossBuffer) -> Float[jax.Array, " 9"]:
    """Where each average lies between its minimum (-1) and the next longer average (0); 0 in the first two updates."""
    means, minima = buffer.corrected, buffer.running_min[:-1]
    position = (means[:-1] - minima) / jnp.maximum(1e-8, means[1:] - minima)
    return jnp.where(buffer.iteration <= 2, 0.0, jnp.clip(position - 1.0, -1.0, 1.0))
