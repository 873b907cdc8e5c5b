"""Training in epochs of shuffled batches, measured on all held-out examples, as the benchmark runs its problems."""

import abc
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tasks import prng
from tasks.families import draws, layers
from tasks.family import Params, TaskFamily
from velo.shapes import Array, Float, Int, PRNGKeyArray

Examples = tuple[Array, ...]
"""Arrays with a leading axis over examples."""
HELD_OUT = ("valid", "test")


class Splits(NamedTuple):
    """The examples of a problem; `valid` and `test` have the same shapes."""

    train: Examples
    valid: Examples
    test: Examples


def on_device(train: tuple, valid: tuple, test: tuple) -> Splits:
    """NumPy arrays as the examples of a problem; concrete arrays even when called during tracing."""
    with jax.ensure_compile_time_eval():
        return Splits(*(tuple(jnp.asarray(array) for array in part) for part in (train, valid, test)))


class TrainingSet(NamedTuple):
    examples: Examples


class HeldOutSet(NamedTuple):
    examples: Examples


class EpochDraw(NamedTuple):
    """Orders of the examples, which the epochs use in turn, and the current step."""

    orders: Int[Array, "orders examples"]
    step: Int[Array, ""]


class Problem(abc.ABC):
    """A network and its data: a frozen dataclass whose `metric` may differ from the training loss."""

    @abc.abstractmethod
    def load(self) -> Splits:
        """The data.

        Raises:
            MissingDataError: the data are not on this machine.
        """

    @abc.abstractmethod
    def init(self, key: PRNGKeyArray) -> Params:
        """Initial parameters."""

    @abc.abstractmethod
    def loss(self, params: Params, examples: Examples, key: PRNGKeyArray) -> Float[Array, ""]:
        """The training loss, with dropout and the weight penalty if the problem has them."""

    @abc.abstractmethod
    def metric(self, params: Params, examples: Examples, key: PRNGKeyArray) -> Float[Array, ""]:
        """The reported metric, lower is better: an error rate, or a loss without dropout."""

    @property
    @abc.abstractmethod
    def reference_loss(self) -> float:
        """As in `TaskFamily`."""


@dataclasses.dataclass(frozen=True)
class ShuffledEpochs(TaskFamily):
    """A problem whose batches visit all examples before any is repeated; an incomplete batch is dropped.

    The validation loss is the problem's metric on all complete batches of held-out examples.
    """

    problem: Problem
    batch_size: int
    num_orders: int = 1
    """Number of orders drawn for a run. With one, all epochs have the same batches and dropped examples never occur."""
    held_out: str = dataclasses.field(default="test", compare=False)
    """valid or test: different arrays, the same program."""
    dataset: str = "none"

    def __post_init__(self):
        layers.check_positive(self, "batch_size", "num_orders")
        if self.held_out not in HELD_OUT:
            raise ValueError(f"ShuffledEpochs: held_out must be one of {', '.join(HELD_OUT)}, got {self.held_out!r}")

    def load(self):
        splits = self.problem.load()
        for name, examples in splits._asdict().items():
            if len(examples[0]) < self.batch_size:
                raise ValueError(
                    f"ShuffledEpochs: batch_size must be at most {len(examples[0])}, the number of {name} examples, "
                    f"got {self.batch_size}"
                )
        held_out = splits.valid if self.held_out == "valid" else splits.test
        return TrainingSet(splits.train), HeldOutSet(held_out)

    @property
    def reference_loss(self) -> float:
        return self.problem.reference_loss

    def draw(self, key):
        uniform = prng.uniform(key, (self.num_orders, len(self.problem.load().train[0])))
        return EpochDraw(jax.vmap(draws.permutation)(uniform), jnp.zeros((), jnp.int32))

    def draw_at(self, draw, step):
        return draw._replace(step=step)

    def init(self, draw, key):
        return self.problem.init(key)

    def batch(self, data, key):
        """All examples. The batch of a step depends on the step number in the draw, so `loss` selects it."""
        return data

    def rows(self, draw: EpochDraw) -> Int[Array, " batch"]:
        """Indices of the current step's examples."""
        num_orders, num_examples = draw.orders.shape
        epoch, place = jnp.divmod(draw.step, num_examples // self.batch_size)
        return jax.lax.dynamic_slice_in_dim(draw.orders[epoch % num_orders], place * self.batch_size, self.batch_size)

    def loss(self, draw, params, batch, key):
        if isinstance(batch, HeldOutSet):
            return self._metric(params, batch.examples, key)
        rows = self.rows(draw)
        return self.problem.loss(params, tuple(array[rows] for array in batch.examples), key)

    def _metric(self, params: Params, examples: Any, key: PRNGKeyArray) -> Float[Array, ""]:
        """Mean over held-out batches of the training batch size, computed one after the other."""
        num_batches = len(examples[0]) // self.batch_size
        batches = tuple(
            array[: num_batches * self.batch_size].reshape(num_batches, self.batch_size, *array.shape[1:])
            for array in examples
        )
        keys = jax.random.split(key, num_batches)
        return jnp.mean(jax.lax.map(lambda one: self.problem.metric(params, one[0], one[1]), (batches, keys)))
