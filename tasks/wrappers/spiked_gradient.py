"""Gradients that are occasionally far too long, as from a bad batch."""

import dataclasses

import jax
import jax.numpy as jnp

from tasks import prng
from tasks.families.draws import log_uniform
from tasks.wrappers.wrapper import Wrapper, with_gradient


@dataclasses.dataclass(frozen=True)
class SpikedGradient(Wrapper):
    """Multiplies the gradient by a factor at a random `share` of the steps.

    The factor is log-uniform in [10, `max_factor`], and drawn once per task.
    """

    share: float = 0.01
    max_factor: float = 1e3

    def __post_init__(self):
        if not 0 < self.share <= 1:
            raise ValueError(f"SpikedGradient: share must be in (0, 1], got {self.share}")
        if self.max_factor < 10:
            raise ValueError(f"SpikedGradient: max_factor must be at least 10, got {self.max_factor}")

    def draw_strength(self, key):
        """The factor."""
        return log_uniform(prng.uniform(key), 10.0, self.max_factor)

    def loss(self, draw, params, batch, key):
        key_loss, key_spike = prng.split(key)
        frozen = jax.lax.stop_gradient(params)
        loss, grads = jax.value_and_grad(self.family.loss, argnums=1)(draw.inner, frozen, batch, key_loss)
        factor = jnp.where(prng.uniform(key_spike) < self.share, draw.strength, 1.0)
        return with_gradient(loss, params, jax.tree.map(lambda grad: grad * factor, grads))
