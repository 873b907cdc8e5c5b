"""A task family trained by a learned optimizer, as a problem for the estimators."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from meta_train.problem import Problem, Segment
from tasks import inner_loop
from tasks.family import TaskFamily
from velo.learned_optimizer import LearnedOptimizer
from velo.shapes import Array, Float, Int, PRNGKeyArray


@dataclasses.dataclass(frozen=True)
class Objective:
    """Weights of the normalised training losses of an episode: they sum to one."""

    tail_share: float = 0.5
    """Share of the last `tail_steps`; the rest weighs step t of T by .5 + t/T, so that the whole curve counts."""
    tail_steps: int = 25
    """Inner steps whose mean stands for the final loss."""

    def __post_init__(self):
        if not 0 <= self.tail_share <= 1:
            raise ValueError(f"Objective: tail_share must be in [0, 1], got {self.tail_share}")
        if self.tail_steps < 1:
            raise ValueError(f"Objective: tail_steps must be at least 1, got {self.tail_steps}")

    def weights(self, steps: Int[Array, " n"], num_steps: Int[Array, ""]) -> Float[Array, " n"]:
        tail = jnp.minimum(self.tail_steps, num_steps)
        in_tail = (steps >= num_steps - tail).astype(jnp.float32)
        whole = (0.5 + (steps + 0.5) / num_steps) / num_steps
        return self.tail_share * in_tail / tail + (1.0 - self.tail_share) * whole


@dataclasses.dataclass(frozen=True)
class Episodes:
    """How long the inner training runs are."""

    segment_steps: int = 50
    """Inner steps of a segment."""
    min_steps: int = 100
    """Shortest run; lengths are log-uniform in whole segments."""
    max_steps: int = 1000
    """Longest run."""
    objective: Objective = Objective()

    def __post_init__(self):
        if self.segment_steps < 1:
            raise ValueError(f"Episodes: segment_steps must be at least 1, got {self.segment_steps}")
        if not self.segment_steps <= self.min_steps <= self.max_steps:
            raise ValueError(
                "Episodes: need segment_steps <= min_steps <= max_steps, got "
                f"{self.segment_steps}, {self.min_steps}, {self.max_steps}"
            )
        for name in ("min_steps", "max_steps"):
            if getattr(self, name) % self.segment_steps:
                raise ValueError(
                    f"Episodes: {name} must be a multiple of segment_steps, got {getattr(self, name)} "
                    f"and {self.segment_steps}"
                )


class Carry(NamedTuple):
    draw: Any
    state: inner_loop.InnerState
    key_data: Array  # of the whole episode; stored unwrapped, so that a carry is plain arrays
    num_segments: Int[Array, ""]


@dataclasses.dataclass(frozen=True)
class TaskProblem(Problem):
    """Trains a new network an episode; the meta-loss is the objective's average of normalised training losses."""

    family: TaskFamily
    optimizer: LearnedOptimizer
    episodes: Episodes

    @property
    def steps_per_segment(self) -> int:
        return self.episodes.segment_steps

    def sample_length(self, key: PRNGKeyArray) -> Int[Array, ""]:
        low, high = jnp.log(self.episodes.min_steps), jnp.log(self.episodes.max_steps)
        num_steps = jnp.exp(jax.random.uniform(key, minval=low, maxval=high))
        return jnp.round(num_steps / self.episodes.segment_steps).astype(jnp.int32)

    def reset(self, theta, key, num_segments):
        key_draw, key_init, key_train = jax.random.split(key, 3)
        draw = self.family.draw(key_draw)
        tx = self.optimizer.bind(theta, num_segments * self.episodes.segment_steps)
        state = inner_loop.start(self.family, tx, draw, key_init)
        return Carry(draw, state, jax.random.key_data(key_train), num_segments)

    def advance(self, theta, carry, data):
        num_steps = carry.num_segments * self.episodes.segment_steps
        tx = self.optimizer.bind(theta, num_steps)
        state, losses = inner_loop.train(
            self.family, tx, carry.draw, carry.state, data, jax.random.wrap_key_data(carry.key_data),
            num_steps=self.episodes.segment_steps,
        )  # fmt: skip
        steps = carry.state.step + jnp.arange(self.episodes.segment_steps)
        weights = self.episodes.objective.weights(steps, num_steps)
        segment = Segment(
            loss=jnp.sum(weights * jax.vmap(self.family.normalize)(losses)),
            done=state.step >= num_steps,
            num_nonfinite=jnp.sum(~jnp.isfinite(losses)),
        )
        return carry._replace(state=state), segment
