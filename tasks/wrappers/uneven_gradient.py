"""Gradients of one tensor that are far longer than those of the others."""

import dataclasses

import jax

from tasks.wrappers.wrapper import Wrapper, with_gradient


@dataclasses.dataclass(frozen=True)
class UnevenGradient(Wrapper):
    """Multiplies the gradient of the first tensor of the parameters by `factor`; the parameters stay as they are."""

    factor: float = 1e6

    def __post_init__(self):
        if not self.factor > 0:
            raise ValueError(f"UnevenGradient: factor must be positive, got {self.factor}")

    def draw_strength(self, key):
        """Nothing: the change is the same for every draw."""
        return ()

    def loss(self, draw, params, batch, key):
        frozen = jax.lax.stop_gradient(params)
        loss, grads = jax.value_and_grad(self.family.loss, argnums=1)(draw.inner, frozen, batch, key)
        leaves, treedef = jax.tree.flatten(grads)
        return with_gradient(loss, params, treedef.unflatten([self.factor * leaves[0], *leaves[1:]]))
