"""The interface of an estimator and the antithetic pairs that all of them are made of."""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from meta_train.problem import Carry, Problem, Segment
from velo.learned_optimizer import Theta
from velo.shapes import Array, Float, Int, PRNGKeyArray

State = Any


class Estimate(NamedTuple):
    grad: Theta
    loss: Float[Array, ""]  # mean over pairs and arms of what was differentiated
    num_nonfinite: Int[Array, ""]  # inner losses that were bounded
    num_inner_steps: Int[Array, ""]  # over all lanes, arms included


@dataclasses.dataclass(frozen=True)
class GradientEstimator(abc.ABC):
    """Antithetic pairs: both arms of a pair share data and keys and differ in the sign of their perturbation."""

    num_pairs: int = 16
    """Pairs in one compiled program; lanes are twice as many."""
    sigma: float = 0.1
    """Standard deviation of the perturbations of theta, whose entries are of order one."""
    standardize: bool = False
    """Divide the pairs' differences by their root mean square, so that every task weighs the same."""

    def __post_init__(self):
        if self.num_pairs < 1:
            raise ValueError(f"{type(self).__name__}: num_pairs must be at least 1, got {self.num_pairs}")
        if not 0 < self.sigma < float("inf"):
            raise ValueError(f"{type(self).__name__}: sigma must be positive and finite, got {self.sigma}")

    @abc.abstractmethod
    def init(self, problem: Problem, theta: Theta, key: PRNGKeyArray) -> State:
        """What is carried from one estimate to the next; () for none."""

    @abc.abstractmethod
    def estimate(
        self, problem: Problem, theta: Theta, state: State, data: Any, key: PRNGKeyArray
    ) -> tuple[Estimate, State]:
        """A stochastic gradient of the expected meta-loss. Not jitted itself."""

    def gradient(self, losses: Float[Array, "2 pairs"], noise: Float[Array, "pairs size"]) -> Float[Array, " size"]:
        """mean_i (L(theta + sigma e_i) - L(theta - sigma e_i)) n_i / (2 sigma), n the noise that is credited."""
        differences = losses[0] - losses[1]
        if self.standardize:
            differences = differences / (jnp.sqrt(jnp.mean(jnp.square(differences))) + 1e-8)
        return differences @ noise / (2.0 * self.sigma * self.num_pairs)


class Lanes(NamedTuple):
    """Perturbed thetas and the functions of a problem over (arm, pair); data and the noise are shared by the arms."""

    thetas: Float[Array, "2 pairs size"]
    unravel: Callable[[Float[Array, " size"]], Theta]

    def reset(self, problem: Problem, keys: Array, lengths: Int[Array, " pairs"]) -> Carry:
        def one(theta, key, length):
            return problem.reset(self.unravel(theta), key, length)

        over_pairs = jax.vmap(one)
        return jax.vmap(over_pairs, in_axes=(0, None, None))(self.thetas, keys, lengths)

    def advance(self, problem: Problem, carry: Carry, data: Any) -> tuple[Carry, Segment]:
        def one(theta, carry):
            return problem.advance(self.unravel(theta), carry, data)

        return jax.vmap(jax.vmap(one))(self.thetas, carry)


def perturb(theta: Theta, key: PRNGKeyArray, sigma: float, num_pairs: int) -> tuple[Lanes, Float[Array, "pairs size"]]:
    flat, unravel = ravel_pytree(theta)
    noise = jax.random.normal(key, (num_pairs, flat.size), flat.dtype)
    signs = jnp.array([1.0, -1.0], flat.dtype)[:, None, None]
    return Lanes(flat[None, None] + sigma * signs * noise[None], unravel), noise
