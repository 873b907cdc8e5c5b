"""Tasks of `learned_optimization` as families of ours, by their methods alone: that package is never imported.

Its tasks have the methods `init`, `loss` and `normalizer`, and `datasets`; those with a model state have
`init_with_state` and `loss_with_state`. Its task families have `sample` and `task_fn`.
"""

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tasks import prng
from tasks.family import Batch, Data, Draw, Params, TaskFamily
from velo.shapes import Array, Float, PRNGKeyArray

MAX_RATIO = 1e6
"""Losses above this multiple of `reference` count as equal, and as bad as a loss that is not finite."""


@dataclasses.dataclass(frozen=True, eq=False)
class BridgedFamily(TaskFamily):
    """A task or task family of `learned_optimization`; two are equal only if they are the same object.

    Deviation: a model state (of batch normalisation, say) is drawn with the task and stays as it was initialised, since
    our inner loop carries parameters only.
    """

    source: Any
    """The task or the task family."""
    num_batches: int = 16
    """Number of batches taken from each split once; steps draw from them with replacement."""
    reference: float = 1.0
    """About the loss at which its tasks start."""

    dataset = "bridged"

    def __post_init__(self):
        needed = ("sample", "task_fn") if hasattr(self.source, "task_fn") else ("init", "loss")
        missing = [name for name in needed if not hasattr(self.source, name)]
        if missing:
            raise ValueError(f"{type(self.source).__name__} has no {missing}: neither a task nor a task family")
        if self.num_batches < 1:
            raise ValueError(f"num_batches must be at least 1, got {self.num_batches}")

    @property
    def reference_loss(self) -> float:
        return self.reference

    def load(self) -> tuple[Data, Data]:
        """Batches of the splits `train` and `inner_valid`; arrays have the leading axes batches, examples.

        A task without data sets gets zeros in place of batches.

        Raises:
            ValueError: a split has fewer than `num_batches` batches.
        """
        datasets = getattr(self.source, "datasets", None)
        if datasets is None:
            empty = {"none": jnp.zeros((self.num_batches, 1))}
            return empty, empty
        return self._take(datasets.train), self._take(datasets.inner_valid)

    def draw(self, key: PRNGKeyArray) -> Draw:
        key_task, key_state = prng.split(key)
        sampled = self.source.sample(key_task) if hasattr(self.source, "task_fn") else None
        return {"sampled": sampled, "state": self._init(sampled, key_state)[1]}

    def init(self, draw: Draw, key: PRNGKeyArray) -> Params:
        return self._init(draw["sampled"], key)[0]

    def batch(self, data: Data, key: PRNGKeyArray) -> Batch:
        index = jax.random.randint(key, (), 0, self.num_batches)
        return jax.tree.map(lambda leaf: leaf[index], data)

    def loss(self, draw: Draw, params: Params, batch: Batch, key: PRNGKeyArray) -> Float[Array, ""]:
        task = self._task(draw["sampled"])
        if draw["state"] is not None:
            return task.loss_with_state(params, draw["state"], key, batch)[0]
        return task.loss(params, key, batch)

    def normalize(self, loss: Float[Array, ""]) -> Float[Array, ""]:
        """The loss after the task's own normaliser, on its own scale; a task family has that of its task for key 0.

        Our clip is not applied: normalised losses of that package reach 10 and more, where the clip would make them all
        equal and every meta-gradient zero. A task without a normaliser gets ours.
        """
        sampled = self.source.sample(jax.random.key(0)) if hasattr(self.source, "task_fn") else None
        normalizer = getattr(self._task(sampled), "normalizer", None)
        if normalizer is None:
            return super().normalize(loss)
        normalized, highest = normalizer(loss), normalizer(jnp.asarray(MAX_RATIO * self.reference, loss.dtype))
        return jnp.where(jnp.isfinite(normalized), jnp.minimum(normalized, highest), highest)

    def _task(self, sampled: Any) -> Any:
        return self.source.task_fn(sampled) if hasattr(self.source, "task_fn") else self.source

    def _init(self, sampled: Any, key: PRNGKeyArray) -> tuple[Params, Any]:
        task = self._task(sampled)
        return task.init_with_state(key) if hasattr(task, "init_with_state") else (task.init(key), None)

    def _take(self, split: Any) -> Data:
        batches = list(itertools.islice(iter(split), self.num_batches))
        if len(batches) < self.num_batches:
            raise ValueError(f"the data set has only {len(batches)} batches, not {self.num_batches}")
        return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *batches)
