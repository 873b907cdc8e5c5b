"""Objectives: the meta-loss of an episode as a function of its losses."""

import dataclasses
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from tasks import inner_loop
from tasks.family import LOSS_FLOOR, NORMALIZED_RANGE, Draw, Params, TaskFamily
from velo.shapes import Array, Float, Int, PRNGKeyArray

Split = Literal["train", "valid"]


@dataclasses.dataclass(frozen=True)
class Objective:
    """The meta-loss is a sum of normalised losses (`TaskFamily.normalize`) along the episode, or at its end."""

    split: Split = "train"
    """Split of the inner data whose losses count."""
    num_batches: int = 4
    """Fresh batches on which a loss is estimated, if it isn't a training loss."""

    at_end: ClassVar[bool] = False
    """Whether `end` gives the meta-loss, instead of `weights`."""

    def __post_init__(self):
        if self.num_batches < 1:
            raise ValueError(f"{type(self).__name__}: num_batches must be at least 1, got {self.num_batches}")

    def weights(self, steps: Int[Array, " n"], num_steps: Int[Array, ""]) -> Float[Array, " n"]:
        """Weights of the losses at the inner steps, counted from 0. They sum to one, or to zero if `at_end`."""
        return jnp.zeros(steps.shape)

    def end(
        self, family: TaskFamily, draw: Draw, initial: Params, final: Params, data: Any, key: PRNGKeyArray
    ) -> Float[Array, ""]:
        """What the initial and final parameters add to the meta-loss; `data` is that of the split."""
        return jnp.zeros(())


@dataclasses.dataclass(frozen=True)
class WeightedCurve(Objective):
    """A weighted mean of the whole curve, with additional weight on its end.

    Training losses are those of the inner steps. A validation loss is estimated at the end of each segment and gets the
    weight of the whole segment.
    """

    tail_share: float = 0.5
    """Share of the last `tail_steps`; the rest is spread over all steps t of T in proportion to .5 + t/T."""
    tail_steps: int = 25
    """Inner steps over which the final loss is averaged."""

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.tail_share <= 1:
            raise ValueError(f"WeightedCurve: tail_share must be in [0, 1], got {self.tail_share}")
        if self.tail_steps < 1:
            raise ValueError(f"WeightedCurve: tail_steps must be at least 1, got {self.tail_steps}")

    def weights(self, steps, num_steps):
        """The tail's share spread evenly over the last steps, the rest rising along the whole curve."""
        tail = jnp.minimum(self.tail_steps, num_steps)
        in_tail = (steps >= num_steps - tail).astype(jnp.float32)
        whole = (0.5 + (steps + 0.5) / num_steps) / num_steps
        return self.tail_share * in_tail / tail + (1.0 - self.tail_share) * whole


@dataclasses.dataclass(frozen=True)
class MeanLoss(Objective):
    """The mean of the curve (as Celo, 2501.12670): speed counts as much as the final loss."""

    def weights(self, steps, num_steps):
        """The same for every step."""
        return jnp.full(steps.shape, 1.0) / num_steps


@dataclasses.dataclass(frozen=True)
class FinalLoss(Objective):
    """The final loss, estimated on fresh batches (VeLO, 2211.09760, with 100 of them)."""

    at_end: ClassVar[bool] = True

    def end(self, family, draw, initial, final, data, key):
        """The normalised loss of the final parameters on fresh batches."""
        return family.normalize(inner_loop.mean_loss(family, draw, final, data, key, num_batches=self.num_batches))


@dataclasses.dataclass(frozen=True)
class LossRatio(Objective):
    """The logarithm of the final loss over the initial one, both on the same fresh batches.

    Floor and bounds are those of `TaskFamily.normalize`, with the initial loss in place of the reference loss.
    """

    at_end: ClassVar[bool] = True

    def end(self, family, draw, initial, final, data, key):
        """log(final / initial loss), with the floor and the bounds of `TaskFamily.normalize`."""

        def loss(params):
            return inner_loop.mean_loss(family, draw, params, data, key, num_batches=self.num_batches)

        first, last = loss(initial), loss(final)
        low, high = NORMALIZED_RANGE
        scale = jnp.maximum(first, 0.0)
        ratio = jnp.log((jnp.maximum(last, 0.0) + LOSS_FLOOR * scale) / ((1.0 + LOSS_FLOOR) * scale))
        usable = jnp.isfinite(first) & jnp.isfinite(last) & (scale > 0)
        return jnp.where(usable, jnp.clip(ratio, low, high), high)


def course(
    objective: Objective,
    family: TaskFamily,
    draw: Draw,
    params: Params,
    losses: Float[Array, " n"],
    steps: Int[Array, " n"],
    num_steps: Int[Array, ""],
    data: Any,
    key: PRNGKeyArray,
) -> Float[Array, ""]:
    """What a segment adds to the meta-loss: its training losses, or the validation loss of `params` after it."""
    weights = objective.weights(steps, num_steps)
    if objective.split == "train":
        return jnp.sum(weights * jax.vmap(family.normalize)(losses))
    loss = inner_loop.mean_loss(family, draw, params, data, key, num_batches=objective.num_batches)
    return jnp.sum(weights) * family.normalize(loss)
