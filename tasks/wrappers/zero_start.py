"""Parameters that start at zero."""

import dataclasses

import jax
import jax.numpy as jnp

from tasks.wrappers.wrapper import Wrapper


@dataclasses.dataclass(frozen=True)
class ZeroStart(Wrapper):
    """Starts all parameters at zero, so that no optimizer can scale its steps by their size.

    Use it for families without hidden layers: with them, an optimizer that only sees gradients gets nowhere from zero.
    """

    def draw_strength(self, key):
        """Nothing: the change is the same for every draw."""
        return ()

    def init(self, draw, key):
        return jax.tree.map(jnp.zeros_like, self.family.init(draw.inner, key))
