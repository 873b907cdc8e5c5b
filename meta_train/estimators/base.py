"""The interface of an estimator of the meta-gradient.

One call of `estimate` gives a worker's gradient for one outer step. Callers compile it; here it runs uncompiled:

    estimator, problem = FullES(num_pairs=8), TaskProblem(family, optimizer, episodes)
    state = estimator.init(problem, theta, problem.data(), key_init)  # () for methods without a state
    estimate, state = estimator.estimate(problem, theta, state, problem.data(), key)
    theta = jax.tree.map(lambda leaf, grad: leaf - 0.1 * grad, theta, estimate.grad)

To add a method, subclass `GradientEstimator` as a frozen dataclass and implement `num_lanes`, `init` and `estimate`;
`num_segments` and `rebuild` have defaults.
"""

import abc
import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from meta_train.problem import Problem
from velo.learned_optimizer import Theta
from velo.shapes import Array, Float, Int, PRNGKeyArray

State = Any


class Estimate(NamedTuple):
    """What an estimator returns for one outer step of one worker."""

    grad: Theta
    loss: Float[Array, ""]  # mean over the lanes of the losses that were differentiated
    num_nonfinite: Int[Array, ""]  # training losses of the inner steps that were not finite
    num_inner_steps: Int[Array, ""]  # over all lanes, arms included
    coefficients: Float[Array, " pairs"] | None = None  # weights of the pairs' noise whose sum is the gradient


class Keys(NamedTuple):
    """The key of an estimate, split by purpose; methods without noise leave the first unused."""

    noise: PRNGKeyArray  # perturbations of theta
    lanes: PRNGKeyArray  # initialisation and batches of the episodes, split again for each lane
    length: PRNGKeyArray  # lengths of the episodes

    @classmethod
    def split(cls, key: PRNGKeyArray) -> "Keys":
        """The order is fixed: seeded gradients are rebuilt from the same key."""
        return cls(*jax.random.split(key, 3))


@dataclasses.dataclass(frozen=True)
class GradientEstimator(abc.ABC):
    """Estimates the gradient of the expected meta-loss; the fields are sizes and choices, hashed by value."""

    persistent: ClassVar[bool] = False
    """Whether episodes continue from one estimate to the next; a family must then be kept for at least one episode."""
    seeded: ClassVar[bool] = False
    """Whether `rebuild` computes the gradient from an estimate's key and coefficients, a few numbers."""
    backward: ClassVar[bool] = False
    """Whether the method backpropagates through inner steps, which costs about three times as much as a forward run."""

    @property
    @abc.abstractmethod
    def num_lanes(self) -> int:
        """Inner training runs that one estimate advances side by side, both arms of a pair counted."""

    @abc.abstractmethod
    def init(self, problem: Problem, theta: Theta, data: Any, key: PRNGKeyArray) -> State:
        """The state before a family's first estimate.

        Args:
            problem: static; what is differentiated.
            theta: meta-parameters, a pytree of float32 arrays.
            data: the problem's arrays.
            key: all randomness of the initial state.

        Returns:
            A pytree of arrays with the shapes that `estimate` returns, or () for a method without a state.
        """

    @abc.abstractmethod
    def estimate(
        self, problem: Problem, theta: Theta, state: State, data: Any, key: PRNGKeyArray
    ) -> tuple[Estimate, State]:
        """A stochastic gradient of the expected meta-loss, and the state for the next estimate. Not jitted itself.

        Args:
            problem: static; what is differentiated.
            theta: meta-parameters, a pytree of float32 arrays.
            state: of `init`, or of the last estimate on the same family.
            data: the problem's arrays.
            key: all randomness of the estimate; equal keys give equal bits.

        Returns:
            (estimate, state): the gradient has the tree, shapes and dtypes of `theta`, the losses are scalars.
        """

    def num_segments(self, problem: Problem, data: Any, key: PRNGKeyArray) -> Int[Array, ""]:
        """Segments that the estimate with this key takes: its cost, before it is computed. One by default.

        Args:
            problem: static; what is differentiated.
            data: the problem's arrays, of which only lengths are read.
            key: the key that `estimate` will get.
        """
        del data, key
        return jnp.asarray(1, jnp.int32)

    def rebuild(self, theta: Theta, key: PRNGKeyArray, coefficients: Float[Array, " pairs"]) -> Theta:
        """The gradient of the estimate with this key. Only for estimators that are `seeded`.

        Args:
            theta: read for its tree and shapes alone.
            key: the key that `estimate` got.
            coefficients: those of its `Estimate`.

        Raises:
            NotImplementedError: the estimator is not seeded.
        """
        raise NotImplementedError(f"the gradient of {type(self).__name__} can't be rebuilt from a key")
