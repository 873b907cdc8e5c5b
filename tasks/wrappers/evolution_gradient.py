"""Gradients estimated by evolution strategies (Salimans et al. 2017)."""

import dataclasses

import jax
import jax.flatten_util
import jax.numpy as jnp

from tasks import prng
from tasks.families.draws import log_uniform
from tasks.wrappers.wrapper import Wrapper, with_gradient


@dataclasses.dataclass(frozen=True)
class EvolutionGradient(Wrapper):
    """The mean over antithetic pairs of (L(w + s e) - L(w - s e)) / (2 s) e, with standard normal e.

    The deviation s is log-uniform in [`min_deviation`, `max_deviation`]. All pairs share the batch and the noise.
    """

    num_pairs: int = 2
    min_deviation: float = 1e-3
    max_deviation: float = 1e-1

    def __post_init__(self):
        if not 0 < self.min_deviation <= self.max_deviation:
            low, high = self.min_deviation, self.max_deviation
            raise ValueError(f"EvolutionGradient: need 0 < min_deviation <= max_deviation, got {low} and {high}")
        if self.num_pairs < 1:
            raise ValueError(f"EvolutionGradient: num_pairs must be at least 1, got {self.num_pairs}")

    def draw_strength(self, key):
        """The standard deviation s."""
        return log_uniform(prng.uniform(key), self.min_deviation, self.max_deviation)

    def loss(self, draw, params, batch, key):
        key_loss, key_directions = prng.split(key)
        flat, unravel = jax.flatten_util.ravel_pytree(params)
        flat = jax.lax.stop_gradient(flat)
        directions = prng.normal(key_directions, (self.num_pairs, flat.size))

        def evaluate(flat):
            return self.family.loss(draw.inner, unravel(flat), batch, key_loss)

        # The parameters and all perturbed ones in one call, so that the program holds the loss once.
        offsets = draw.strength * jnp.concatenate([jnp.zeros((1, flat.size)), directions, -directions])
        losses = jax.vmap(evaluate)(flat[None] + offsets)
        ups, downs = losses[1 : 1 + self.num_pairs], losses[1 + self.num_pairs :]
        grad = (ups - downs) / (2.0 * draw.strength) @ directions / self.num_pairs
        return with_gradient(losses[0], params, unravel(grad))
