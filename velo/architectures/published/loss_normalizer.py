"""RNNMLP's input from the training loss: its distance from the average, in standard deviations (2009.11243)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from velo.shapes import Float, Int

DECAY = 0.9
MAX_FEATURE = 5.0


class LossNormalizer(NamedTuple):
    """Exponential average and variance of the loss."""

    mean: Float[jax.Array, ""]  # not bias-corrected
    variance: Float[jax.Array, ""]
    updates: Int[jax.Array, ""]


def init_loss_normalizer() -> LossNormalizer:
    """The average and the variance before the first loss."""
    return LossNormalizer(jnp.zeros(()), jnp.zeros(()), jnp.zeros((), jnp.int32))


def update_loss_normalizer(normalizer: LossNormalizer, loss: Float[jax.Array, ""]) -> LossNormalizer:
    """Adds a loss. Deviation: a non-finite loss changes nothing; it breaks the reference's averages for good."""
    loss = loss.astype(jnp.float32)
    mean = DECAY * normalizer.mean + (1.0 - DECAY) * loss
    variance = DECAY * normalizer.variance + (1.0 - DECAY) * jnp.square(mean - loss)
    updated = LossNormalizer(mean, variance, normalizer.updates + 1)
    return jax.tree.map(lambda new, old: jnp.where(jnp.isfinite(loss), new, old), updated, normalizer)


def normalized(normalizer: LossNormalizer, loss: Float[jax.Array, ""]) -> Float[jax.Array, ""]:
    """(loss - mean) / deviation, clipped to [-5, 5]; 5 for a NaN."""
    weight = 1.0 / (1.0 - DECAY ** normalizer.updates.astype(jnp.float32) + 1e-8)
    distance = loss.astype(jnp.float32) - weight * normalizer.mean
    deviation = distance * jax.lax.rsqrt(weight * normalizer.variance + 1e-8)
    return jnp.clip(jnp.nan_to_num(deviation, nan=MAX_FEATURE), -MAX_FEATURE, MAX_FEATURE)
