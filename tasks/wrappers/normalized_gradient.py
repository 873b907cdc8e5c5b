"""Gradients divided by a power of their norm, so that their length tells little or nothing."""

import dataclasses

import jax
import jax.numpy as jnp

from tasks import prng
from tasks.wrappers.wrapper import Wrapper, with_gradient


@dataclasses.dataclass(frozen=True)
class NormalizedGradient(Wrapper):
    """Divides the gradient by a power of its global norm; the power is uniform in [0, 1]."""

    def draw_strength(self, key):
        """The power."""
        return prng.uniform(key)

    def loss(self, draw, params, batch, key):
        frozen = jax.lax.stop_gradient(params)
        loss, grads = jax.value_and_grad(self.family.loss, argnums=1)(draw.inner, frozen, batch, key)
        norm = jnp.sqrt(sum(jnp.sum(jnp.square(grad)) for grad in jax.tree.leaves(grads)))
        factor = jnp.maximum(norm, 1e-12) ** -draw.strength
        return with_gradient(loss, params, jax.tree.map(lambda grad: grad * factor, grads))
