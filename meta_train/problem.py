"""What an estimator differentiates: episodes advanced in segments. It knows neither tasks nor learned optimizers."""

import abc
from typing import Any, NamedTuple

import jax.numpy as jnp

from velo.learned_optimizer import Theta
from velo.shapes import Array, Bool, Float, Int, PRNGKeyArray

Carry = Any


class Segment(NamedTuple):
    """The meta-loss of an episode is the sum of its segments' losses and of what `Problem.end` adds."""

    loss: Float[Array, ""]
    done: Bool[Array, ""]
    num_nonfinite: Int[Array, ""]  # inner losses that were bounded because they were not finite


class Problem(abc.ABC):
    """One lane; estimators vmap it over lanes and over perturbed thetas. Frozen and hashed by value.

    `data` is whatever arrays the problem needs; they are arguments, so that they are never compiled in.
    """

    @abc.abstractmethod
    def sample_length(self, data: Any, key: PRNGKeyArray) -> Int[Array, ""]:
        """Length of an episode in whole segments, in [1, max_segments]."""

    @abc.abstractmethod
    def reset(self, theta: Theta, key: PRNGKeyArray, num_segments: Int[Array, ""]) -> Carry:
        """The start of an episode. All its randomness comes from `key`: equal keys, common random numbers."""

    @abc.abstractmethod
    def advance(self, theta: Theta, carry: Carry, data: Any) -> tuple[Carry, Segment]:
        """One segment under `theta`; `done` after the episode's last."""

    def end(self, carry: Carry, data: Any) -> Float[Array, ""]:
        """What the end of an episode adds to its meta-loss; `carry` is that after the last segment."""
        del carry, data
        return jnp.zeros(())

    @property
    def arm_axes(self) -> Any:
        """`in_axes` of `jax.vmap` for carries that differ in theta alone: None where theta makes no difference.

        What doesn't differ, such as keys, is computed and what follows from it drawn once for the arms of a pair.
        """
        return 0

    @property
    @abc.abstractmethod
    def steps_per_segment(self) -> int:
        """Inner steps of a segment, to count work."""

    @property
    @abc.abstractmethod
    def max_segments(self) -> int:
        """Segments of the longest episode."""
