"""Estimators that advance every lane by one segment per estimate, and continue its episode in the next one."""

import abc
import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from meta_train.estimators.antithetic import AntitheticEstimator, Lanes, end, select
from meta_train.estimators.base import Estimate, Keys
from meta_train.problem import Carry, Problem
from velo.shapes import Array, Bool, Float

Noise = Float[Array, "pairs size"]


class State(NamedTuple):
    """What is carried from one segment to the next."""

    carry: Carry  # as in `Lanes`
    past: Float[Array, "pairs size"]  # noise of the episode so far that the method remembers, in units of sigma
    fresh: Bool[Array, " pairs"]  # lanes whose next segment starts an episode


def start(problem: Problem, lanes: Lanes, data: Any, key, *, random_offsets: bool) -> tuple[Carry, Bool[Array, " n"]]:
    """(carry, fresh) before the first estimate.

    With random offsets, each lane first runs a uniformly random part of its episode under the thetas of `lanes`.
    Without, every lane is fresh, and only the shapes of the carry are read.
    """
    num_lanes = lanes.thetas.shape[1]
    keys = jax.random.split(key, num_lanes)
    if not random_offsets:
        return lanes.reset(problem, keys, jnp.ones(num_lanes, jnp.int32)), jnp.ones(num_lanes, bool)
    key_lanes, key_length, key_offset = jax.random.split(key, 3)
    lengths = sample_lengths(problem, data, key_length, num_lanes)
    offsets = jax.random.randint(key_offset, (num_lanes,), 0, lengths)
    carry = lanes.reset(problem, jax.random.split(key_lanes, num_lanes), lengths)

    def advance(loop):
        carry, segment = loop
        return select(problem, segment < offsets, lanes.advance(problem, carry, data)[0], carry), segment + 1

    loop = (carry, jnp.zeros((), jnp.int32))
    carry, _ = jax.lax.while_loop(lambda loop: loop[1] < jnp.max(offsets), advance, loop)
    return carry, offsets == 0


def sample_lengths(problem: Problem, data: Any, key, num_lanes: int):
    """Lengths of the lanes' episodes in segments, drawn independently."""
    return jax.vmap(lambda key: problem.sample_length(data, key))(jax.random.split(key, num_lanes))


@dataclasses.dataclass(frozen=True)
class SegmentedEstimator(AntitheticEstimator):
    """Subclasses choose the perturbation that a segment runs under, and those that its loss is credited to."""

    random_offsets: bool = False
    """Start each lane at a random place of its first episode, so that the lanes' episodes don't end together."""

    persistent: ClassVar[bool] = True
    holds: ClassVar[bool] = False
    """Whether a perturbation is kept for the whole episode. A lane that starts inside an episode then draws it in
    `init`."""

    @abc.abstractmethod
    def noises(self, new: Noise, past: Noise, fresh: Bool[Array, " pairs"]) -> tuple[Noise, Noise, Noise]:
        """(noise that the segment runs under, noise that its loss is credited to, what is remembered).

        Args:
            new: drawn for this estimate.
            past: what the last estimate remembered; meaningless where `fresh`.
            fresh: whether an episode starts with this segment.
        """

    def init(self, problem, theta, data, key):
        """The state before the first segment. The parts that random offsets skip are run unperturbed."""
        noise = self.noise(theta, key)
        lanes = self.perturb(theta, jnp.zeros_like(noise))
        carry, fresh = start(problem, lanes, data, key, random_offsets=self.random_offsets)
        return State(carry, noise if self.holds else jnp.zeros_like(noise), fresh)

    def estimate(self, problem, theta, state: State, data, key):
        """Advances every lane by one segment.

        A new episode starts under this estimate's perturbation, so that the gradient covers what theta sets at the
        start.
        """
        keys = Keys.split(key)
        applied, credited, past = self.noises(self.noise(theta, keys.noise), state.past, state.fresh)
        lanes = self.perturb(theta, applied)
        lengths = sample_lengths(problem, data, keys.length, self.num_pairs)
        fresh = lanes.reset(problem, jax.random.split(keys.lanes, self.num_pairs), lengths)
        carry = select(problem, state.fresh, fresh, state.carry)

        carry, segment = lanes.advance(problem, carry, data)
        losses = segment.loss + jnp.where(segment.done, end(problem, carry, data), 0.0)
        coefficients = self.coefficients(losses)
        estimate = Estimate(
            grad=lanes.unravel(coefficients @ credited),
            loss=jnp.mean(losses),
            num_nonfinite=jnp.sum(segment.num_nonfinite),
            num_inner_steps=jnp.asarray(2 * self.num_pairs * problem.steps_per_segment),
            coefficients=coefficients,
        )
        return estimate, State(carry, past, segment.done[0])
