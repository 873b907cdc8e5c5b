"""Estimators that advance every lane by one segment an estimate and go on where they were."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from meta_train.estimators.base import Estimate, GradientEstimator, perturb
from meta_train.problem import Carry, Problem
from velo.shapes import Array, Bool, Float


class State(NamedTuple):
    carry: Carry  # leading axes (arm, pair)
    credited: Float[Array, "pairs size"]  # noise of the episode so far, in units of sigma
    fresh: Bool[Array, " pairs"]  # lanes whose next segment starts an episode


def select(condition: Bool[Array, " pairs"], yes: Any, no: Any) -> Any:
    """`yes` where the pair's condition holds, leaf by leaf over (arm, pair, ...)."""

    def leaf(a, b):
        return jnp.where(condition.reshape(1, -1, *(1,) * (a.ndim - 2)), a, b)

    return jax.tree.map(leaf, yes, no)


def init_segmented(estimator: GradientEstimator, problem: Problem, theta, key) -> State:
    lanes, noise = perturb(theta, key, estimator.sigma, estimator.num_pairs)
    keys = jax.random.split(key, estimator.num_pairs)
    lengths = jnp.ones(estimator.num_pairs, jnp.int32)
    carry = lanes.reset(problem, keys, lengths)
    return State(carry, jnp.zeros_like(noise), jnp.ones(estimator.num_pairs, bool))


def estimate_segment(
    estimator: GradientEstimator, problem: Problem, theta, state: State, data, key, *, credit_past: bool
) -> tuple[Estimate, State]:
    """One segment of every lane; `credit_past` credits its loss to all perturbations since the episode's start.

    A new episode starts under this estimate's perturbation, so that whatever theta sets at the start is credited.
    """
    key_noise, key_lanes, key_length = jax.random.split(key, 3)
    lanes, noise = perturb(theta, key_noise, estimator.sigma, estimator.num_pairs)
    lengths = jax.vmap(problem.sample_length)(jax.random.split(key_length, estimator.num_pairs))
    fresh = lanes.reset(problem, jax.random.split(key_lanes, estimator.num_pairs), lengths)
    carry = select(state.fresh, fresh, state.carry)
    past = jnp.where(state.fresh[:, None], 0.0, state.credited) if credit_past else jnp.zeros_like(noise)
    credited = past + noise

    carry, segment = lanes.advance(problem, carry, data)
    estimate = Estimate(
        grad=lanes.unravel(estimator.gradient(segment.loss, credited)),
        loss=jnp.mean(segment.loss),
        num_nonfinite=jnp.sum(segment.num_nonfinite),
        num_inner_steps=jnp.asarray(2 * estimator.num_pairs * problem.steps_per_segment),
    )
    return estimate, State(carry, credited, segment.done[0])
