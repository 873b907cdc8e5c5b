"""Antithetic pairs: the base of every evolution strategy here."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from meta_train.estimators.base import GradientEstimator, Keys
from meta_train.problem import Carry, Problem, Segment
from velo.learned_optimizer import Theta
from velo.shapes import Array, Bool, Float, Int, PRNGKeyArray


@dataclasses.dataclass(frozen=True)
class AntitheticEstimator(GradientEstimator):
    """Both arms of a pair share data and keys and differ in the sign of their perturbation."""

    num_pairs: int = 16
    """Pairs in one compiled program; lanes are twice as many."""
    sigma: float = 0.1
    """Standard deviation of the perturbations of theta, whose entries are of order one."""
    standardize: bool = False
    """Divide the pairs' differences by their root mean square: then every task has the same weight."""
    parts: tuple[str, ...] = ()
    """Parts of theta that are perturbed, and so trained. Each is the beginning of a path, such as `bank` or
    `hypernetwork/controls`; none means all of theta. The noise of an estimate grows with the number of entries."""

    def __post_init__(self):
        if self.num_pairs < 1:
            raise ValueError(f"{type(self).__name__}: num_pairs must be at least 1, got {self.num_pairs}")
        if not 0 < self.sigma < float("inf"):
            raise ValueError(f"{type(self).__name__}: sigma must be positive and finite, got {self.sigma}")

    @property
    def num_lanes(self):
        """Two arms for each pair."""
        return 2 * self.num_pairs

    def coefficients(self, losses: Float[Array, "2 pairs"]) -> Float[Array, " pairs"]:
        """c_i = (L(theta + sigma e_i) - L(theta - sigma e_i)) / (2 sigma pairs); the gradient is sum_i c_i e_i."""
        differences = losses[0] - losses[1]
        if self.standardize:
            differences = differences / (jnp.sqrt(jnp.mean(jnp.square(differences))) + 1e-8)
        return differences / (2.0 * self.sigma * self.num_pairs)

    def noise(self, theta: Theta, key: PRNGKeyArray) -> Float[Array, "pairs size"]:
        """Perturbations in units of sigma, zero outside `parts`.

        The worker and the learner both draw them, and both must get the same bits.
        """
        flat, _ = ravel_pytree(theta)
        noise = jax.random.normal(key, (self.num_pairs, flat.size), flat.dtype)
        return noise * self.perturbed(theta)[None] if self.parts else noise

    def perturbed(self, theta: Theta) -> Bool[np.ndarray, " size"]:
        """Which entries of theta belong to `parts`; a ValueError names a part that theta doesn't have."""
        paths = [
            (jax.tree_util.keystr(path, simple=True, separator="/"), np.size(leaf))
            for path, leaf in jax.tree.leaves_with_path(theta)
        ]
        for part in self.parts:
            if not any(_begins(path, part) for path, _ in paths):
                known = ", ".join(path for path, _ in paths)
                raise ValueError(f"{type(self).__name__}: no part of theta is {part!r}; known: {known}")
        return np.concatenate([np.full(size, any(_begins(path, part) for part in self.parts)) for path, size in paths])

    def perturb(self, theta: Theta, noise: Float[Array, "pairs size"]) -> "Lanes":
        """The lanes at theta + sigma noise and theta - sigma noise."""
        flat, unravel = ravel_pytree(theta)
        signs = jnp.array([1.0, -1.0], flat.dtype)[:, None, None]
        return Lanes(flat[None, None] + self.sigma * signs * noise[None], unravel)

    def rebuild(self, theta, key, coefficients):
        """Draws the noise again and sums it, weighted by the coefficients."""
        return ravel_pytree(theta)[1](coefficients @ self.noise(theta, Keys.split(key).noise))


def _begins(path: str, part: str) -> bool:
    return f"{path}/".startswith(f"{part}/")


class Lanes(NamedTuple):
    """Perturbed thetas, and the functions of a problem mapped over (arm, pair). Both arms share data and keys.

    The leaves of a carry have the axes (arm, pair). What `Problem.arm_axes` marks as equal in both arms has (pair,).
    """

    thetas: Float[Array, "arms pairs size"]
    unravel: Callable[[Float[Array, " size"]], Theta]

    def reset(self, problem: Problem, keys: Array, lengths: Int[Array, " pairs"]) -> Carry:
        """Starts an episode in every lane."""

        def one(theta, key, length):
            return problem.reset(self.unravel(theta), key, length)

        over_arms = jax.vmap(jax.vmap(one), in_axes=(0, None, None), out_axes=problem.arm_axes)
        return over_arms(self.thetas, keys, lengths)

    def advance(self, problem: Problem, carry: Carry, data: Any) -> tuple[Carry, Segment]:
        """Advances every lane by one segment."""

        def one(theta, carry):
            return problem.advance(self.unravel(theta), carry, data)

        over_arms = jax.vmap(jax.vmap(one), in_axes=(0, problem.arm_axes), out_axes=(problem.arm_axes, 0))
        return over_arms(self.thetas, carry)


def end(problem: Problem, carry: Carry, data: Any) -> Float[Array, "arms pairs"]:
    """What `Problem.end` adds to the meta-loss of each lane's episode."""
    over_pairs = jax.vmap(lambda carry: problem.end(carry, data))
    return jax.vmap(over_pairs, in_axes=(problem.arm_axes,))(carry)


def select(problem: Problem, condition: Bool[Array, " pairs"], yes: Carry, no: Carry) -> Carry:
    """The carry `yes` for pairs whose condition holds, and `no` for the others."""

    def one(condition, yes, no):
        return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)

    axes = problem.arm_axes
    return jax.vmap(jax.vmap(one), in_axes=(None, axes, axes), out_axes=axes)(condition, yes, no)
