"""Backpropagation through one segment at a time, for comparison: cheap and short-sighted (1803.02021)."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from meta_train.estimators.antithetic import Lanes, end, select
from meta_train.estimators.base import Estimate, GradientEstimator, Keys
from meta_train.estimators.segmented import sample_lengths, start
from meta_train.problem import Carry
from velo.shapes import Array, Bool


class State(NamedTuple):
    """What is carried from one segment to the next."""

    carry: Carry  # as in `Lanes`, with one arm
    fresh: Bool[Array, " lanes"]


@dataclasses.dataclass(frozen=True)
class TruncatedBackprop(GradientEstimator):
    """Each segment is differentiated alone: theta's effect through earlier segments is left out."""

    num_lanes: int = 16
    """Episodes in one compiled program."""
    random_offsets: bool = False
    """Start each lane at a random place of its first episode."""

    persistent: ClassVar[bool] = True
    backward: ClassVar[bool] = True

    def __post_init__(self):
        if self.num_lanes < 1:
            raise ValueError(f"TruncatedBackprop: num_lanes must be at least 1, got {self.num_lanes}")

    def _lanes(self, flat, unravel) -> Lanes:
        return Lanes(jnp.broadcast_to(flat, (1, self.num_lanes, flat.size)), unravel)

    def init(self, problem, theta, data, key):
        """The state before the first segment."""
        lanes = self._lanes(*ravel_pytree(theta))
        return State(*start(problem, lanes, data, key, random_offsets=self.random_offsets))

    def estimate(self, problem, theta, state, data, key):
        """Advances every lane by one segment and differentiates its loss."""
        keys = Keys.split(key)
        lengths = sample_lengths(problem, data, keys.length, self.num_lanes)
        flat, unravel = ravel_pytree(theta)

        def segment_loss(flat):
            lanes = self._lanes(flat, unravel)
            fresh = lanes.reset(problem, jax.random.split(keys.lanes, self.num_lanes), lengths)
            carry = select(problem, state.fresh, fresh, state.carry)
            carry, segment = lanes.advance(problem, carry, data)
            losses = segment.loss + jnp.where(segment.done, end(problem, carry, data), 0.0)
            return jnp.mean(losses), (carry, segment)

        (loss, (carry, segment)), grad = jax.value_and_grad(segment_loss, has_aux=True)(flat)
        num_inner_steps = jnp.asarray(self.num_lanes * problem.steps_per_segment)
        estimate = Estimate(unravel(grad), loss, jnp.sum(segment.num_nonfinite), num_inner_steps)
        return estimate, State(carry, segment.done[0])
