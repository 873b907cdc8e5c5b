"""Full-unroll antithetic evolution strategies (Salimans et al. 1703.03864; VeLO's choice, 2211.09760)."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from meta_train.estimators.antithetic import AntitheticEstimator, end
from meta_train.estimators.base import Estimate, Keys


@dataclasses.dataclass(frozen=True)
class FullES(AntitheticEstimator):
    """Every estimate runs whole episodes of one common length, and keeps no state.

    Without `standardize` and `sign` it is unbiased for the smoothed meta-loss.
    """

    sign: bool = False
    """Keep only the sign of a pair's difference (VeLO): every task has the same weight; the gradient's size is lost."""

    seeded: ClassVar[bool] = True

    def __post_init__(self):
        super().__post_init__()
        if self.sign and self.standardize:
            raise ValueError("FullES: sign and standardize exclude each other, got both")

    def coefficients(self, losses):
        """As in the base class, or with the sign of each difference in place of the difference."""
        if not self.sign:
            return super().coefficients(losses)
        differences = losses[0] - losses[1]
        signs = jnp.where(jnp.isfinite(differences), jnp.sign(differences), 0.0)
        return signs / (2.0 * self.sigma * self.num_pairs)

    def init(self, problem, theta, data, key):
        """No state."""
        return ()

    def num_segments(self, problem, data, key):
        """The length of the episodes."""
        return problem.sample_length(data, Keys.split(key).length)

    def estimate(self, problem, theta, state, data, key):
        """Runs `num_pairs` pairs of episodes of one length and compares the arms' meta-losses."""
        keys = Keys.split(key)
        noise = self.noise(theta, keys.noise)
        lanes = self.perturb(theta, noise)
        num_segments = problem.sample_length(data, keys.length)
        lengths = jnp.broadcast_to(num_segments, (self.num_pairs,))
        carry = lanes.reset(problem, jax.random.split(keys.lanes, self.num_pairs), lengths)

        def unfinished(loop):
            return ~loop[-1]

        def advance(loop):
            carry, losses, num_nonfinite, _ = loop
            carry, segment = lanes.advance(problem, carry, data)
            done = jnp.all(segment.done)
            return carry, losses + segment.loss, num_nonfinite + jnp.sum(segment.num_nonfinite), done

        zeros = jnp.zeros((2, self.num_pairs))
        start = (carry, zeros, jnp.zeros((), jnp.int32), jnp.zeros((), bool))
        carry, losses, num_nonfinite, _ = jax.lax.while_loop(unfinished, advance, start)
        losses = losses + end(problem, carry, data)
        coefficients = self.coefficients(losses)
        estimate = Estimate(
            grad=lanes.unravel(coefficients @ noise),
            loss=jnp.mean(losses),
            num_nonfinite=num_nonfinite,
            num_inner_steps=2 * self.num_pairs * problem.steps_per_segment * num_segments,
            coefficients=coefficients,
        )
        return estimate, ()
