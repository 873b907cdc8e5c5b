"""The interface of a problem, whose meta-loss an estimator differentiates: episodes that advance in segments."""

import abc
from typing import Any, NamedTuple

import jax.numpy as jnp

from velo.learned_optimizer import Theta
from velo.shapes import Array, Bool, Float, Int, PRNGKeyArray

Carry = Any


class Segment(NamedTuple):
    """What a segment returns. An episode's meta-loss is the sum over its segments, plus `Problem.end`."""

    loss: Float[Array, ""]
    done: Bool[Array, ""]
    num_nonfinite: Int[Array, ""]  # training losses of the segment that were not finite


class Problem(abc.ABC):
    """The episodes of one lane. Estimators vmap its methods over lanes and over perturbed thetas.

    Subclasses are frozen dataclasses, hashed by value. `data` are the arrays that the problem reads. They are
    arguments, so that they aren't compiled into the program.
    """

    @abc.abstractmethod
    def sample_length(self, data: Any, key: PRNGKeyArray) -> Int[Array, ""]:
        """Length of an episode in whole segments, in [1, max_segments]."""

    @abc.abstractmethod
    def reset(self, theta: Theta, key: PRNGKeyArray, num_segments: Int[Array, ""]) -> Carry:
        """Starts an episode. All its randomness comes from `key`: lanes with equal keys have common random numbers."""

    @abc.abstractmethod
    def advance(self, theta: Theta, carry: Carry, data: Any) -> tuple[Carry, Segment]:
        """Advances by one segment under `theta`; `Segment.done` is true after the episode's last segment."""

    def end(self, carry: Carry, data: Any) -> Float[Array, ""]:
        """What the end of an episode adds to its meta-loss; `carry` is the one after the last segment."""
        del carry, data
        return jnp.zeros(())

    @property
    def arm_axes(self) -> Any:
        """`in_axes` of `jax.vmap` over carries whose thetas differ: None for leaves that don't depend on theta.

        Leaves that are the same in both arms of a pair, such as keys, are then computed once.
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
