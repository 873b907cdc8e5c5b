"""VeLO's normalisation of losses (2211.09760) in place of the logarithm."""

import dataclasses

import jax.numpy as jnp

from tasks.wrappers.wrapper import Wrapper


@dataclasses.dataclass(frozen=True)
class LinearlyNormalized(Wrapper):
    """10 (L - r) / r for a loss L clipped to [0, bound]; r is the loss of a guess: log C for C classes.

    The bound is log 2C for a cross-entropy and 2 r for other losses; a non-finite loss counts as the bound. Deviation:
    VeLO subtracts log(C/5). Here r is subtracted, so that a guess scores zero in every family, as in
    `TaskFamily.normalize`.
    """

    def draw_strength(self, key):
        return ()

    def normalize(self, loss):
        bound, reference = self.loss_bound, self.reference_loss
        clipped = jnp.where(jnp.isfinite(loss), jnp.clip(loss, 0.0, bound), bound)
        return 10.0 * (clipped - reference) / reference
