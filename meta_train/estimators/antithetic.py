"""Antithetic pairs, which every evolution strategy here is made of."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from meta_train.estimators.base import GradientEstimator
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
    """Divide the pairs' differences by their root mean square, so that every task weighs the same."""
    parts: tuple[str, ...] = ()
    """Parts of theta that are perturbed, and so trained, by the beginning of their paths, such as `bank` or
    `hypernetwork/controls`; none for all. The noise of an estimate grows with the number of entries."""

    def __post_init__(self):
        if self.num_pairs < 1:
            raise ValueError(f"{type(self).__name__}: num_pairs must be at least 1, got {self.num_pairs}")
        if not 0 < self.sigma < float("inf"):
            raise ValueError(f"{type(self).__name__}: sigma must be positive and finite, got {self.sigma}")

    def coefficients(self, losses: Float[Array, "2 pairs"]) -> Float[Array, " pairs"]:
        """(L(theta + sigma e_i) - L(theta - sigma e_i)) / (2 sigma pairs): of the noise that is credited."""
        differences = losses[0] - losses[1]
        if self.standardize:
            differences = differences / (jnp.sqrt(jnp.mean(jnp.square(differences))) + 1e-8)
        return differences / (2.0 * self.sigma * self.num_pairs)

    def noise(self, theta: Theta, key: PRNGKeyArray) -> Float[Array, "pairs size"]:
        """Not of the fused generator: whatever reads the noise has to read the same bits."""
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
        flat, unravel = ravel_pytree(theta)
        signs = jnp.array([1.0, -1.0], flat.dtype)[:, None, None]
        return Lanes(flat[None, None] + self.sigma * signs * noise[None], unravel)

    def rebuild(self, theta, key, coefficients):
        key_noise, _, _ = jax.random.split(key, 3)
        return ravel_pytree(theta)[1](coefficients @ self.noise(theta, key_noise))


def _begins(path: str, part: str) -> bool:
    return f"{path}/".startswith(f"{part}/")


class Lanes(NamedTuple):
    """Thetas and the functions of a problem over (arm, pair); data and all randomness are shared by the arms.

    A carry has the axes (arm, pair), but for what `Problem.arm_axes` says is the same in both arms: (pair,).
    """

    thetas: Float[Array, "arms pairs size"]
    unravel: Callable[[Float[Array, " size"]], Theta]

    def reset(self, problem: Problem, keys: Array, lengths: Int[Array, " pairs"]) -> Carry:
        def one(theta, key, length):
            return problem.reset(self.unravel(theta), key, length)

        over_arms = jax.vmap(jax.vmap(one), in_axes=(0, None, None), out_axes=problem.arm_axes)
        return over_arms(self.thetas, keys, lengths)

    def advance(self, problem: Problem, carry: Carry, data: Any) -> tuple[Carry, Segment]:
        def one(theta, carry):
            return problem.advance(self.unravel(theta), carry, data)

        over_arms = jax.vmap(jax.vmap(one), in_axes=(0, problem.arm_axes), out_axes=(problem.arm_axes, 0))
        return over_arms(self.thetas, carry)


def end(problem: Problem, carry: Carry, data: Any) -> Float[Array, "arms pairs"]:
    over_pairs = jax.vmap(lambda carry: problem.end(carry, data))
    return jax.vmap(over_pairs, in_axes=(problem.arm_axes,))(carry)


def select(problem: Problem, condition: Bool[Array, " pairs"], yes: Carry, no: Carry) -> Carry:
    """`yes` where the pair's condition holds."""

    def one(condition, yes, no):
        return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)

    axes = problem.arm_axes
    return jax.vmap(jax.vmap(one), in_axes=(None, axes, axes), out_axes=axes)(condition, yes, no)
