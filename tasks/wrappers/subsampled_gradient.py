"""Gradients known along a few random directions only."""

import dataclasses

import jax
import jax.flatten_util
import jax.numpy as jnp

from tasks import prng
from tasks.families.draws import log_uniform
from tasks.wrappers.wrapper import Wrapper, with_gradient


@dataclasses.dataclass(frozen=True)
class SubsampledGradient(Wrapper):
    """The mean of (gradient . v) v over k normal directions v, fresh at every step: an unbiased gradient.

    The number k is log-uniform in [1, `max_directions`], rounded, and drawn once per task.
    """

    max_directions: int = 8

    def __post_init__(self):
        if self.max_directions < 1:
            raise ValueError(f"SubsampledGradient: max_directions must be at least 1, got {self.max_directions}")

    def draw_strength(self, key):
        """k before it is rounded down, a float."""
        return log_uniform(prng.uniform(key), 1.0, self.max_directions + 0.999)

    def loss(self, draw, params, batch, key):
        key_loss, key_directions = prng.split(key)
        frozen = jax.lax.stop_gradient(params)
        loss, grads = jax.value_and_grad(self.family.loss, argnums=1)(draw.inner, frozen, batch, key_loss)
        flat, unravel = jax.flatten_util.ravel_pytree(grads)
        num_used = jnp.floor(draw.strength)
        directions = prng.normal(key_directions, (self.max_directions, flat.size))
        slopes = jnp.where(jnp.arange(self.max_directions) < num_used, directions @ flat, 0.0)
        return with_gradient(loss, params, unravel(slopes @ directions / num_used))
