"""The interface of a task: a static half that is compiled once and a dynamic half that is vmapped."""

import abc
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from tasks import data
from velo.shapes import Array, Float, PRNGKeyArray

Draw = Any
Params = Any
Batch = Any
Data = Any

LOSS_FLOOR = 0.003
NORMALIZED_RANGE = (-6.0, 1.5)


class TaskFamily(abc.ABC):
    """A distribution of training problems that share one compiled program.

    Subclasses are frozen dataclasses, hashed by value: every field changes a shape or the traced program. Everything
    else that varies between tasks (scales, teachers, label noise) is the dynamic half, `draw`.
    """

    dataset: str
    """Name in `tasks.data`; the arrays come into `batch` as an argument."""

    def load(self) -> tuple[Data, Data]:
        """(training, validation) arrays of the family's data set, on the device, loaded once a process."""
        return data.load(self.dataset)

    @abc.abstractmethod
    def draw(self, key: PRNGKeyArray) -> Draw:
        """The dynamic half of one task: the same tree and shapes for every key."""

    @abc.abstractmethod
    def init(self, draw: Draw, key: PRNGKeyArray) -> Params:
        """Initial parameters."""

    @abc.abstractmethod
    def batch(self, data: Data, key: PRNGKeyArray) -> Batch:
        """A random batch: a pure gather from one split of the data.

        The leading axis of every array counts examples (test functions have one).
        """

    @abc.abstractmethod
    def loss(self, draw: Draw, params: Params, batch: Batch, key: PRNGKeyArray) -> Float[Array, ""]:
        """Mean loss on the batch; `key` drives whatever is random in it (noise, dropout)."""

    @property
    @abc.abstractmethod
    def reference_loss(self) -> float:
        """The loss of a prediction that ignores its input, for example log(classes): the scale of `normalize`."""

    @property
    def loss_bound(self) -> float:
        """A loss that tells no more than any above it: log 2C for a cross-entropy of C classes."""
        return 2.0 * self.reference_loss

    def wrap_optimizer(self, draw: Draw, tx: optax.GradientTransformation) -> optax.GradientTransformation:
        """The optimizer as this task lets it see the gradients: itself, unless they change on their way over steps.

        What needs one step only (estimated or normalised gradients) belongs in `loss`, as a custom gradient.
        """
        return tx

    def normalize(self, loss: Float[Array, ""]) -> Float[Array, ""]:
        """Finite and bounded, for meta-training only: the logarithm of the loss over the reference loss.

        log((loss + .003 ref) / (1.003 ref)), clipped to [-6, 1.5]; a non-finite loss counts as the upper bound.
        """
        reference = self.reference_loss
        low, high = NORMALIZED_RANGE
        relative = (jnp.maximum(loss, 0.0) + LOSS_FLOOR * reference) / ((1.0 + LOSS_FLOOR) * reference)
        return jnp.where(jnp.isfinite(loss), jnp.clip(jnp.log(relative), low, high), high)


@functools.cache
def num_params(family: TaskFamily) -> int:
    """Number of trained parameters, without running anything."""

    def init(key):
        return family.init(family.draw(key), key)

    shapes = jax.eval_shape(init, jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))
