"""What an episode is judged by: functions of its losses, the smaller the better."""

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
    """A meta-loss is a sum of normalised losses (`TaskFamily.normalize`) along the episode and at its end."""

    split: Split = "train"
    """Split of the inner data whose losses count."""
    num_batches: int = 4
    """Fresh batches that a loss is estimated on where it isn't one of training itself."""

    at_end: ClassVar[bool] = False
    """Whether the end of an episode counts, by `end`, or its course, by `weights`."""

    def __post_init__(self):
        if self.num_batches < 1:
            raise ValueError(f"{type(self).__name__}: num_batches must be at least 1, got {self.num_batches}")

    def weights(self, steps: Int[Array, " n"], num_steps: Int[Array, ""]) -> Float[Array, " n"]:
        """Weights of the losses at inner steps counted from 0; they sum to one, or to zero if the end counts."""
        return jnp.zeros(steps.shape)

    def end(
        self, family: TaskFamily, draw: Draw, initial: Params, final: Params, data: Any, key: PRNGKeyArray
    ) -> Float[Array, ""]:
        """Judges the parameters that an episode started and ended with; `data` is of the split."""
        return jnp.zeros(())


@dataclasses.dataclass(frozen=True)
class WeightedCurve(Objective):
    """The whole curve, its end above all.

    Training losses are those of the inner steps. A validation loss is taken once a segment, at its end, and has the
    weight of the segment.
    """

    tail_share: float = 0.5
    """Share of the last `tail_steps`; the rest weighs step t of T by .5 + t/T, so that the whole curve counts."""
    tail_steps: int = 25
    """Inner steps whose mean stands for the final loss."""

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.tail_share <= 1:
            raise ValueError(f"WeightedCurve: tail_share must be in [0, 1], got {self.tail_share}")
        if self.tail_steps < 1:
            raise ValueError(f"WeightedCurve: tail_steps must be at least 1, got {self.tail_steps}")

    def weights(self, steps, num_steps):
        tail = jnp.minimum(self.tail_steps, num_steps)
        in_tail = (steps >= num_steps - tail).astype(jnp.float32)
        whole = (0.5 + (steps + 0.5) / num_steps) / num_steps
        return self.tail_share * in_tail / tail + (1.0 - self.tail_share) * whole


@dataclasses.dataclass(frozen=True)
class MeanLoss(Objective):
    """The mean of the curve (Celo and its kin, 2501.12670): being quick counts as much as where it ends."""

    def weights(self, steps, num_steps):
        return jnp.full(steps.shape, 1.0) / num_steps


@dataclasses.dataclass(frozen=True)
class FinalLoss(Objective):
    """The loss at the end, estimated again on fresh batches (VeLO, 2211.09760, with 100 of them)."""

    at_end: ClassVar[bool] = True

    def end(self, family, draw, initial, final, data, key):
        return family.normalize(inner_loop.mean_loss(family, draw, final, data, key, num_batches=self.num_batches))


@dataclasses.dataclass(frozen=True)
class LossRatio(Objective):
    """The logarithm of the final loss over the initial one, both on the same fresh batches.

    A floor and bounds as in `TaskFamily.normalize`, with the initial loss in place of the reference loss.
    """

    at_end: ClassVar[bool] = True

    def end(self, family, draw, initial, final, data, key):
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
    """What a segment adds: its training losses at `steps`, or the validation loss of `params`, those after it."""
    weights = objective.weights(steps, num_steps)
    if objective.split == "train":
        return jnp.sum(weights * jax.vmap(family.normalize)(losses))
    loss = inner_loop.mean_loss(family, draw, params, data, key, num_batches=objective.num_batches)
    return jnp.sum(weights) * family.normalize(loss)
