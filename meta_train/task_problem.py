"""The problem that meta-training differentiates: a task family, trained by a learned optimizer."""

import dataclasses
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from meta_train import objectives
from meta_train.objectives import FinalLoss, LossRatio, MeanLoss, WeightedCurve
from meta_train.problem import Problem, Segment
from tasks import inner_loop
from tasks.family import TaskFamily
from velo.learned_optimizer import LearnedOptimizer
from velo.shapes import Array, Int

FRESH_BATCHES = 2**32 - 1
"""Folded into an episode's training key in place of a step number, for losses on batches that training doesn't use."""


@dataclasses.dataclass(frozen=True)
class Episodes:
    """Lengths and objective of the inner training runs."""

    segment_steps: int = 50
    """Inner steps of a segment."""
    min_steps: int = 100
    """Shortest run; lengths are log-uniform in whole segments."""
    max_steps: int = 1000
    """Longest run."""
    objective: WeightedCurve | MeanLoss | FinalLoss | LossRatio = WeightedCurve()

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


class TaskData(NamedTuple):
    """The arrays that a problem reads."""

    train: Any
    valid: Any
    max_steps: Int[Array, ""]  # longest episode now, which a curriculum may set below that of `Episodes`


class Carry(NamedTuple):
    """An episode between two segments."""

    draw: Any
    state: inner_loop.InnerState
    key_data: Array  # of the whole episode; stored unwrapped, so that a carry is plain arrays
    num_segments: Int[Array, ""]


@dataclasses.dataclass(frozen=True)
class TaskProblem(Problem):
    """Trains a new network in each episode; the objective gives the meta-loss."""

    family: TaskFamily
    optimizer: LearnedOptimizer
    episodes: Episodes

    @property
    def arm_axes(self):
        """Parameters and optimizer state differ between the arms; the draw, the keys and the length don't."""
        own, shared = cast(Any, 0), cast(Any, None)
        return Carry(draw=shared, state=inner_loop.InnerState(own, own, shared), key_data=shared, num_segments=shared)

    @property
    def steps_per_segment(self) -> int:
        """`Episodes.segment_steps`."""
        return self.episodes.segment_steps

    @property
    def max_segments(self) -> int:
        """Segments of the longest episode."""
        return self.episodes.max_steps // self.episodes.segment_steps

    def data(self, max_steps: int | None = None) -> TaskData:
        """The family's arrays, and the longest episode: that of `Episodes` if none is given."""
        longest = self.episodes.max_steps if max_steps is None else max_steps
        return TaskData(*self.family.load(), jnp.asarray(longest, jnp.int32))

    def sample_length(self, data, key):
        """Log-uniform between the shortest and the longest episode, in whole segments."""
        low, high = jnp.log(self.episodes.min_steps), jnp.log(data.max_steps)
        num_steps = jnp.exp(jax.random.uniform(key, minval=low, maxval=high))
        return jnp.round(num_steps / self.episodes.segment_steps).astype(jnp.int32)

    def reset(self, theta, key, num_segments):
        """Draws a task and initialises its parameters and the optimizer."""
        key_draw, key_init, _ = jax.random.split(key, 3)
        draw = self.family.draw(key_draw)
        tx = self.optimizer.bind(theta, num_segments * self.episodes.segment_steps)
        state = inner_loop.start(self.family, tx, draw, key_init)
        return Carry(draw, state, jax.random.key_data(key), num_segments)

    def advance(self, theta, carry, data):
        """Trains for one segment; its loss is the segment's part of the objective."""
        episodes = self.episodes
        num_steps = carry.num_segments * episodes.segment_steps
        tx = self.optimizer.bind(theta, num_steps)
        _, _, key_train = jax.random.split(jax.random.wrap_key_data(carry.key_data), 3)
        state, losses = inner_loop.train(
            self.family, tx, carry.draw, carry.state, data.train, key_train, num_steps=episodes.segment_steps
        )
        loss = jnp.zeros(())
        if not episodes.objective.at_end:
            steps = carry.state.step + jnp.arange(episodes.segment_steps)
            key_loss = jax.random.fold_in(jax.random.fold_in(key_train, FRESH_BATCHES), state.step)
            loss = objectives.course(
                episodes.objective,
                self.family,
                carry.draw,
                state.params,
                losses,
                steps,
                num_steps,
                data.valid,
                key_loss,
            )
        segment = Segment(loss, state.step >= num_steps, jnp.sum(~jnp.isfinite(losses)))
        return carry._replace(state=state), segment

    def end(self, carry, data):
        """The objective's loss at the end of the episode, or zero if it is a sum over the segments."""
        objective = self.episodes.objective
        if not objective.at_end:
            return jnp.zeros(())
        _, key_init, key_train = jax.random.split(jax.random.wrap_key_data(carry.key_data), 3)
        initial = self.family.init(carry.draw, key_init)
        split = data.train if objective.split == "train" else data.valid
        key = jax.random.fold_in(key_train, FRESH_BATCHES)
        return objective.end(self.family, carry.draw, initial, carry.state.params, split, key)
