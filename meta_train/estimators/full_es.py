"""Full-unroll antithetic evolution strategies (Salimans et al. 1703.03864; VeLO's choice, 2211.09760)."""

import dataclasses

import jax
import jax.numpy as jnp

from meta_train.estimators.base import Estimate, GradientEstimator, perturb


@dataclasses.dataclass(frozen=True)
class FullES(GradientEstimator):
    """Whole episodes of one common length an estimate: unbiased for the smoothed meta-loss, no state."""

    def init(self, problem, theta, key):
        return ()

    def estimate(self, problem, theta, state, data, key):
        key_noise, key_lanes, key_length = jax.random.split(key, 3)
        lanes, noise = perturb(theta, key_noise, self.sigma, self.num_pairs)
        num_segments = problem.sample_length(key_length)
        lengths = jnp.broadcast_to(num_segments, (self.num_pairs,))
        carry = lanes.reset(problem, jax.random.split(key_lanes, self.num_pairs), lengths)

        def unfinished(loop):
            return ~loop[-1]

        def advance(loop):
            carry, losses, num_nonfinite, _ = loop
            carry, segment = lanes.advance(problem, carry, data)
            done = jnp.all(segment.done)
            return carry, losses + segment.loss, num_nonfinite + jnp.sum(segment.num_nonfinite), done

        zeros = jnp.zeros((2, self.num_pairs))
        start = (carry, zeros, jnp.zeros((), jnp.int32), jnp.zeros((), bool))
        _, losses, num_nonfinite, _ = jax.lax.while_loop(unfinished, advance, start)
        estimate = Estimate(
            grad=lanes.unravel(self.gradient(losses, noise)),
            loss=jnp.mean(losses),
            num_nonfinite=num_nonfinite,
            num_inner_steps=2 * self.num_pairs * problem.steps_per_segment * num_segments,
        )
        return estimate, ()
