"""Backpropagation through whole episodes, for comparison: exact, but its gradients explode where training is chaotic.

Source: 1810.10180.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from meta_train.estimators.antithetic import Lanes, end
from meta_train.estimators.base import Estimate, GradientEstimator, Keys


@dataclasses.dataclass(frozen=True)
class FullBackprop(GradientEstimator):
    """The gradient of the meta-loss itself, not of a smoothed one. The backward pass recomputes each segment."""

    num_lanes: int = 16
    """Episodes in one compiled program."""

    backward: ClassVar[bool] = True

    def __post_init__(self):
        if self.num_lanes < 1:
            raise ValueError(f"FullBackprop: num_lanes must be at least 1, got {self.num_lanes}")

    def init(self, problem, theta, data, key):
        """No state."""
        return ()

    def num_segments(self, problem, data, key):
        """The length of the episodes."""
        return problem.sample_length(data, Keys.split(key).length)

    def estimate(self, problem, theta, state, data, key):
        """Differentiates the mean meta-loss of `num_lanes` episodes of one length."""
        keys = Keys.split(key)
        num_segments = problem.sample_length(data, keys.length)
        lengths = jnp.broadcast_to(num_segments, (self.num_lanes,))
        flat, unravel = ravel_pytree(theta)

        def meta_loss(flat):
            lanes = Lanes(jnp.broadcast_to(flat, (1, self.num_lanes, flat.size)), unravel)
            carry = lanes.reset(problem, jax.random.split(keys.lanes, self.num_lanes), lengths)

            @jax.checkpoint
            def advance(carry):
                carry, segment = lanes.advance(problem, carry, data)
                return carry, (jnp.mean(segment.loss), jnp.sum(segment.num_nonfinite))

            def rest(carry):
                return carry, (jnp.zeros(()), jnp.zeros((), jnp.int32))

            def step(carry, index):
                return jax.lax.cond(index < num_segments, advance, rest, carry)

            carry, (losses, nonfinite) = jax.lax.scan(step, carry, jnp.arange(problem.max_segments))
            return jnp.sum(losses) + jnp.mean(end(problem, carry, data)), jnp.sum(nonfinite)

        (loss, num_nonfinite), grad = jax.value_and_grad(meta_loss, has_aux=True)(flat)
        num_inner_steps = self.num_lanes * problem.steps_per_segment * num_segments
        return Estimate(unravel(grad), loss, num_nonfinite, num_inner_steps), ()
