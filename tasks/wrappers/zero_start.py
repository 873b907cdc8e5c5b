"""Parameters that start at zero."""

import dataclasses

import jax
import jax.numpy as jnp

from tasks.wrappers.wrapper import Wrapper


@dataclasses.dataclass(frozen=True)
class ZeroStart(Wrapper):
    """All initial parameters are zero, so that no step is measured by their size.

    Of a network with hidden layers no optimizer that sees gradients alone gets anywhere: it is for families without.
    """

    def draw_strength(self, key):
        """Nothing: it is the same for every draw."""
        return ()

    def init(self, draw, key):
        return jax.tree.map(jnp.zeros_like, self.family.init(draw.inner, key))
