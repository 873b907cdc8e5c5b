"""Losses that the optimizer sees scaled or shifted."""

import dataclasses
from typing import Any

import jax
import optax

from tasks.wrappers.wrapper import Wrapper


@dataclasses.dataclass(frozen=True)
class RescaledLoss(Wrapper):
    """The optimizer sees `factor` * loss + `offset` and its gradient; the recorded loss is the original one.

    Final losses can thus be compared with those of the family itself. A factor of zero makes the loss a constant.
    """

    factor: float = 1.0
    offset: float = 0.0

    def draw_strength(self, key):
        """Nothing: the change is the same for every draw."""
        return ()

    def wrap_optimizer(self, draw, tx):
        """`tx` with the same state; it gets the rescaled loss, its gradient and its function."""
        tx = optax.with_extra_args_support(self.family.wrap_optimizer(draw.inner, tx))

        def seen(loss: Any) -> Any:
            return self.factor * loss + self.offset

        def update(updates, state, params=None, *, value=None, obj_fn=None, **extra_args):
            updates = jax.tree.map(lambda grad: self.factor * grad, updates)
            if value is not None:
                extra_args["value"] = seen(value)
            if obj_fn is not None:
                extra_args["obj_fn"] = lambda params: seen(obj_fn(params))
            return tx.update(updates, state, params, **extra_args)

        return optax.GradientTransformationExtraArgs(tx.init, update)
