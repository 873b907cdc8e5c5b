"""The interface of every learned optimizer, ours and the released ones."""

import abc
from typing import Any

import jax
import optax

from velo.shapes import Int, PRNGKeyArray

Theta = Any
"""Meta-parameters: a pytree of float32 arrays."""


class LearnedOptimizer(abc.ABC):
    """The static half of a learned optimizer: sizes and choices; its weights are `theta`.

    Implementations are frozen dataclasses, hashed by value, whose fields are JSON scalars or tuples of them,
    so that a weights file can record them.
    """

    @abc.abstractmethod
    def init(self, key: PRNGKeyArray) -> Theta:
        """Untrained meta-parameters."""

    @abc.abstractmethod
    def bind(self, theta: Theta, num_steps: int | Int[jax.Array, ""]) -> optax.GradientTransformationExtraArgs:
        """The optimizer with these weights for a run of `num_steps` inner steps.

        `update(grads, state, params, value=loss)` needs the parameters and the scalar training loss at which
        `grads` was taken. `theta` and `num_steps` may be traced.
        """


def check_update_arguments(params, value) -> None:
    """Raises a ValueError that says what to pass when `params` or `value` is missing from an update."""
    if params is None:
        raise ValueError("a learned optimizer reads the parameters: call tx.update(grads, state, params, value=loss)")
    if value is None:
        raise ValueError("a learned optimizer reads the loss too: call tx.update(grads, state, params, value=loss)")
