"""A problem whose meta-gradient is known in closed form."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_train.problem import Problem, Segment

NUM_STEPS = 8
THETA = 0.3


class Carry(NamedTuple):
    x: jax.Array
    step: jax.Array


@dataclasses.dataclass(frozen=True)
class Decay(Problem):
    """x shrinks by 1 - theta a step from x = 1; the meta-loss is the sum of x^2 over the 8 steps after."""

    num_segments: int = 1

    @property
    def steps_per_segment(self) -> int:
        return NUM_STEPS // self.num_segments

    def sample_length(self, data, key):
        return jnp.asarray(self.num_segments, jnp.int32)

    @property
    def max_segments(self) -> int:
        return self.num_segments

    def reset(self, theta, key, num_segments):
        return Carry(jnp.ones(()), jnp.zeros((), jnp.int32))

    def advance(self, theta, carry, data):
        loss = jnp.zeros(())
        for _ in range(self.steps_per_segment):
            carry = Carry((1.0 - theta["rate"]) * carry.x, carry.step + 1)
            loss = loss + carry.x**2
        return carry, Segment(loss, carry.step >= NUM_STEPS, jnp.zeros((), jnp.int32))


def theta():
    return {"rate": jnp.asarray(THETA)}


EXACT = -2.0 * sum(t * (1.0 - THETA) ** (2 * t - 1) for t in range(1, NUM_STEPS + 1))


def truncated(num_segments: int) -> float:
    """What remains of the gradient when a segment's loss is credited to the segment's own steps alone."""
    size = NUM_STEPS // num_segments
    within = -2.0 * sum(t * (1.0 - THETA) ** (2 * t - 1) for t in range(1, size + 1))
    return within * sum((1.0 - THETA) ** (2 * size * segment) for segment in range(num_segments))
