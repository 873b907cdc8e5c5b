"""Gradients under noise whose variance is infinite."""

import dataclasses

import jax
import jax.flatten_util
import jax.numpy as jnp

from tasks import prng
from tasks.families.draws import log_uniform
from tasks.wrappers.wrapper import Wrapper, with_gradient


@dataclasses.dataclass(frozen=True)
class HeavyTailedGradient(Wrapper):
    """Adds noise of Student's distribution with two degrees of freedom to every entry of the gradient.

    The noise is in units of the gradient's root mean square, times a strength that is log-uniform in
    [`max_strength` / 10, `max_strength`]. Its mean is zero and its variance infinite, as has been observed in the
    training of networks (Simsekli et al. 2019).
    """

    max_strength: float = 1.0

    def __post_init__(self):
        if not self.max_strength > 0:
            raise ValueError(f"HeavyTailedGradient: max_strength must be positive, got {self.max_strength}")

    def draw_strength(self, key):
        """The scale of the noise, in units of the gradient's root mean square."""
        return log_uniform(prng.uniform(key), 0.1 * self.max_strength, self.max_strength)

    def loss(self, draw, params, batch, key):
        key_loss, key_normal, key_length = prng.split(key, 3)
        frozen = jax.lax.stop_gradient(params)
        loss, grads = jax.value_and_grad(self.family.loss, argnums=1)(draw.inner, frozen, batch, key_loss)
        flat, unravel = jax.flatten_util.ravel_pytree(grads)
        # A normal number over the root of an exponential one, which is half of chi squared with two degrees of freedom.
        exponential = -jnp.log1p(-prng.uniform(key_length, flat.shape))
        noise = prng.normal(key_normal, flat.shape) * jax.lax.rsqrt(jnp.maximum(exponential, 1e-7))
        size = jnp.sqrt(jnp.mean(jnp.square(flat)))
        return with_gradient(loss, params, unravel(flat + draw.strength * size * noise))
