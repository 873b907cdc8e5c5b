"""The interface of a task family: a static half that is compiled once, and a dynamic half that is vmapped.

    draw = family.draw(key_draw)                # what differs between two tasks of one program
    params = family.init(draw, key_init)
    train, valid = family.load()                # arrays, passed as arguments
    loss = family.loss(draw, params, family.batch(train, key_batch), key_loss)

A family of your own is a frozen dataclass and subclasses `TaskFamily`. It implements `draw`, `init`, `batch`, `loss`
and `reference_loss`, and has a field `dataset`, "none" if its data are generated. In a mixture it also needs a class
method `sample(rng, scale)`. `examples/own_task.py` is a complete one.
"""

import abc
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from tasks import data
from velo.shapes import Array, Float, Int, PRNGKeyArray

Draw = Any
Params = Any
Batch = Any
Data = Any

LOSS_FLOOR = 0.003
"""In units of the reference loss. It keeps the logarithm of a loss of zero finite."""
NORMALIZED_RANGE = (-6.0, 1.5)


class TaskFamily(abc.ABC):
    """A distribution of training problems that share one compiled program.

    Subclasses are frozen dataclasses, hashed by value: every field changes a shape or the traced program. Whatever else
    varies between tasks (scales, teachers, label noise) is the dynamic half, which `draw` samples. All methods but
    `load` are traced under `jax.jit` and `jax.vmap`.
    """

    dataset: str
    """Name of the data set in `tasks.data`; `batch` gets its arrays as an argument."""

    def load(self) -> tuple[Data, Data]:
        """(training, validation) arrays of the family's data set, on the device, loaded once per process.

        Override it for your own data.

        Raises:
            MissingDataError: the data are not on this machine.
        """
        return data.load(self.dataset)

    @abc.abstractmethod
    def draw(self, key: PRNGKeyArray) -> Draw:
        """The dynamic half of one task.

        Args:
            key: all randomness of the draw.

        Returns:
            A pytree of arrays, with the same tree and shapes for every key.
        """

    def draw_at(self, draw: Draw, step: Int[Array, ""]) -> Draw:
        """The draw at a step of the run, by default the same at every step.

        Override it for a task that changes while it is trained.

        Args:
            draw: of this task.
            step: number of steps taken.

        Returns:
            A pytree of the structure and shapes of `draw`.
        """
        return draw

    @abc.abstractmethod
    def init(self, draw: Draw, key: PRNGKeyArray) -> Params:
        """Initial parameters of the network that is trained.

        Args:
            draw: of this task.
            key: all randomness of the initialisation.

        Returns:
            A pytree of floating-point arrays, with the same tree and shapes for every draw and key.
        """

    @abc.abstractmethod
    def batch(self, data: Data, key: PRNGKeyArray) -> Batch:
        """A random batch, gathered from one split of the data or generated.

        Args:
            data: one of the two values of `load`.
            key: all randomness of the batch.

        Returns:
            A pytree of arrays, each with a leading axis over examples (test functions have one example).
        """

    @abc.abstractmethod
    def loss(self, draw: Draw, params: Params, batch: Batch, key: PRNGKeyArray) -> Float[Array, ""]:
        """Mean loss on a batch, differentiable in `params`.

        Args:
            draw: of this task.
            params: of the tree and shapes of `init`.
            batch: of `batch`.
            key: whatever is random in the loss, such as noise and dropout.
        """

    @property
    @abc.abstractmethod
    def reference_loss(self) -> float:
        """Loss of a prediction that ignores its input, such as log(number of classes): the scale of `normalize`."""

    @property
    def loss_bound(self) -> float:
        """Losses above it count as equal in `LinearlyNormalized`, VeLO's normalisation.

        It is log 2C for a cross-entropy of C classes, and by default twice the reference.
        """
        return 2.0 * self.reference_loss

    def wrap_optimizer(self, draw: Draw, tx: optax.GradientTransformation) -> optax.GradientTransformation:
        """The optimizer that trains this task, by default `tx` itself.

        Override it for what spans several steps, such as a delay. What changes the gradient of one step, such as its
        estimation or normalisation, belongs in `loss` (`tasks.wrappers.wrapper.with_gradient`).

        Args:
            draw: of this task.
            tx: the optimizer.
        """
        return tx

    def normalize(self, loss: Float[Array, ""]) -> Float[Array, ""]:
        """The loss on a scale that all tasks share, for meta-training only: finite and in [-6, 1.5].

        It is log((loss + .003 ref) / (1.003 ref)), clipped. A negative loss counts as zero, and a non-finite one as the
        upper bound.

        Args:
            loss: scalar, of `loss`.
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
