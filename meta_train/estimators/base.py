"""The interface of an estimator of the meta-gradient."""

import abc
import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp

from meta_train.problem import Problem
from velo.learned_optimizer import Theta
from velo.shapes import Array, Float, Int, PRNGKeyArray

State = Any


class Estimate(NamedTuple):
    grad: Theta
    loss: Float[Array, ""]  # mean over the lanes of what was differentiated
    num_nonfinite: Int[Array, ""]  # inner losses that were bounded
    num_inner_steps: Int[Array, ""]  # over all lanes, arms included
    coefficients: Float[Array, " pairs"] | None = None  # of the pairs' noise, where their sum is the gradient


@dataclasses.dataclass(frozen=True)
class GradientEstimator(abc.ABC):
    """How the gradient of the expected meta-loss is estimated; the fields are its sizes."""

    persistent: ClassVar[bool] = False
    """Whether lanes go on from one estimate to the next, so that a family has to stay for an episode at least."""
    seeded: ClassVar[bool] = False
    """Whether `rebuild` gives the gradient from an estimate's key and coefficients, a few numbers."""

    @abc.abstractmethod
    def init(self, problem: Problem, theta: Theta, data: Any, key: PRNGKeyArray) -> State:
        """What is carried from one estimate to the next; () for none."""

    @abc.abstractmethod
    def estimate(
        self, problem: Problem, theta: Theta, state: State, data: Any, key: PRNGKeyArray
    ) -> tuple[Estimate, State]:
        """A stochastic gradient of the expected meta-loss. Not jitted itself."""

    def num_segments(self, problem: Problem, data: Any, key: PRNGKeyArray) -> Int[Array, ""]:
        """Segments that the estimate with this key takes: what it costs, before it is computed."""
        del data, key
        return jnp.asarray(1, jnp.int32)

    def rebuild(self, theta: Theta, key: PRNGKeyArray, coefficients: Float[Array, " pairs"]) -> Theta:
        """The gradient of the estimate with this key; of theta only the shapes count. For seeded estimators."""
        raise NotImplementedError(f"the gradient of {type(self).__name__} can't be rebuilt from a key")
