"""The stream of batches of a run, from any iterable, placed on the devices."""

import itertools
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

MAX_SHAPES = 4
"""Different shapes of batches before a warning: a few buckets of lengths, each with a smaller last batch, are usual."""


class Batches:
    """Batches `first`, `first + 1`, ..., `num_steps - 1` of a run, as arrays.

    Args:
        source: an iterable, gone through again whenever it ends, if it can be; or a function of the step's number.
        first: how many batches to leave out, those of the steps done before.
        devices: the leading axis of every array is divided among them; None leaves arrays where they are.
    """

    def __init__(
        self,
        source: Any,
        first: int,
        num_steps: int,
        devices: Sequence[Any] | None,
    ):
        if not isinstance(source, Iterable) and not callable(source):
            raise ValueError(f"batches has to be an iterable, or a function of the step, got {type(source).__name__}")
        self._source = source
        self._range = range(first, num_steps)
        if devices is not None and len(devices) == 0:
            raise ValueError("devices has to name at least one device, such as jax.devices(), got none")
        self._mesh = None if devices is None else Mesh(np.array(devices), ("batch",))
        self._structure: Any = None
        self._shapes: set[Any] = set()

    def replicate(self, tree: Any) -> Any:
        """The tree on every device."""
        return tree if self._mesh is None else jax.device_put(tree, NamedSharding(self._mesh, PartitionSpec()))

    def __iter__(self) -> Iterator[Any]:
        if isinstance(self._source, Iterable):
            raw = itertools.islice(self._epochs(self._source), self._range.start, self._range.stop)
        else:
            raw = map(self._source, self._range)
        for step, batch in zip(self._range, raw, strict=True):
            yield self._place(self._checked(jax.tree.map(_as_array, batch), step))

    def _epochs(self, source: Iterable[Any]) -> Iterator[Any]:
        """The source over and over; a ValueError where it ends for good before the run does."""
        count, needed = 0, self._range.stop
        while True:
            before = count
            for batch in source:
                count += 1
                yield batch
            if count == before:
                raise ValueError(
                    f"batches ended after {count} of {needed} steps: pass a list, or another iterable that can be gone "
                    f"through again, or an endless generator, or train for num_steps={count}"
                    if count
                    else "batches is empty: it has to yield at least one batch"
                )

    def _checked(self, batch: Any, step: int) -> Any:
        leaves, structure = jax.tree.flatten(batch)
        if self._structure is not None and structure != self._structure:
            raise ValueError(f"batch {step + 1} has the structure {structure}, earlier ones had {self._structure}")
        self._structure = structure
        shapes = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        if shapes not in self._shapes:
            self._shapes.add(shapes)
            if len(self._shapes) == MAX_SHAPES + 1:
                warnings.warn(
                    f"batches came in {len(self._shapes)} different shapes within {step + 1} steps, and each new one "
                    "is compiled anew: drop a smaller last batch, or pad to few sizes",
                    stacklevel=2,
                )
        return batch

    def _place(self, batch: Any) -> Any:
        if self._mesh is None:
            return batch
        return jax.tree.map(self._sharded, batch)

    def _sharded(self, leaf: Any) -> jax.Array:
        assert self._mesh is not None
        if leaf.ndim == 0:
            return self.replicate(leaf)
        if leaf.shape[0] % self._mesh.size:
            raise ValueError(
                f"a batch of {leaf.shape[0]} examples can't be divided among {self._mesh.size} devices: "
                "choose a multiple, and drop a smaller last batch"
            )
        return jax.device_put(leaf, NamedSharding(self._mesh, PartitionSpec("batch")))


def _as_array(leaf: Any) -> Any:
    """Arrays of other libraries, and numbers, as NumPy's."""
    if isinstance(leaf, jax.Array):
        return leaf
    array = np.asarray(leaf)
    if array.dtype.kind not in "biufcV":  # V: bfloat16 and its kin
        raise ValueError(f"a batch has to be made of numbers, got {type(leaf).__name__} of dtype {array.dtype}")
    return array
