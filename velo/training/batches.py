"""The stream of batches of a run, from any iterable, placed on the devices."""

import functools
import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

MAX_SHAPES = 4
"""Different shapes of batches before a warning: a few buckets of lengths, each with a smaller last batch, are usual."""


class Batches:
    """Batches `first`, `first + 1`, ..., `num_steps - 1` of a run, as arrays.

    Args:
        source: an iterable, iterated again whenever it ends, if possible; or a function of the step's number; or, with
            `batch_size`, one data set, a tree of arrays.
        first: number of batches to skip, those of the steps done before.
        num_steps: length of the run.
        devices: the leading axis of every array is sharded over them; None leaves arrays where they are.
        batch_size: examples of a batch, drawn by `epochs_of`.

    Raises:
        ValueError: `source` is of the wrong kind or has fewer examples than `batch_size`, or `devices` is empty.
            Iteration raises one if the source ends early, or if a batch is not of numbers, differs in structure or
            can't be divided among the devices.
    """

    def __init__(
        self,
        source: Any,
        first: int,
        num_steps: int,
        devices: Sequence[Any] | None,
        batch_size: int | None = None,
    ):
        if batch_size is not None:
            source = epochs_of(source, batch_size)
        elif not isinstance(source, Iterable) and not callable(source):
            raise ValueError(f"batches has to be an iterable, or a function of the step, got {type(source).__name__}")
        else:
            _check_not_one_data_set(source)
        self._source = source
        self._range = range(first, num_steps)
        if devices is not None and len(devices) == 0:
            raise ValueError("devices has to name at least one device, such as jax.devices(), got none")
        self._mesh = None if devices is None else Mesh(np.array(devices), ("batch",))
        self._structure: Any = None
        self._shapes: set[Any] = set()
        self._is_smaller_told = False

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
        """Iterates over the source again and again; a ValueError if it yields nothing more before the run ends."""
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
            if not self._is_smaller_told and any(_is_smaller(shapes, earlier) for earlier in self._shapes):
                self._is_smaller_told = True
                warnings.warn(
                    f"batch {step + 1} has fewer examples than earlier ones, and the step is compiled again for it: "
                    "drop a smaller last batch (drop_last=True of a DataLoader), or give the arrays with batch_size=",
                    stacklevel=2,
                )
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


def epochs_of(data: Any, batch_size: int) -> Callable[[int], Any]:
    """Batches of one data set by step: each epoch in its own order, which depends only on its number.

    The last examples of an order that fill no batch are left out of that epoch.

    Args:
        data: a tree of arrays with the examples along the leading axis.
        batch_size: at most the number of examples.

    Raises:
        ValueError: the arrays have different numbers of examples, or fewer than a batch.
    """
    data = jax.tree.map(_as_array, data)
    shapes = [leaf.shape for leaf in jax.tree.leaves(data)]
    lengths = {shape[0] for shape in shapes if shape}
    if len(lengths) != 1 or () in shapes:
        raise ValueError(
            f"batches has to be a tree of arrays with as many examples each, to be cut into batches of batch_size; got "
            f"arrays of shapes {shapes}"
        )
    length: int = lengths.pop()
    if batch_size > length:
        raise ValueError(f"batch_size has to be at most the number of examples {length}, got {batch_size}")

    @functools.lru_cache(maxsize=1)
    def order(epoch: int) -> np.ndarray:
        return np.random.default_rng((0, epoch)).permutation(length)

    def batch(step: int) -> Any:
        epoch, place = divmod(step, length // batch_size)
        rows = order(epoch)[place * batch_size : (place + 1) * batch_size]
        return jax.tree.map(lambda leaf: leaf[rows], data)

    return batch


def _check_not_one_data_set(source: Any) -> None:
    """Raises a ValueError if `source` looks like one data set, (inputs, targets), not like an iterable of batches."""
    advice = "give batch_size= to have it cut into batches, or [batch] to train on all of it in every step"
    if isinstance(source, Mapping):
        raise ValueError(f"batches is a {type(source).__name__}, one data set and no iterable of batches: {advice}")
    if not isinstance(source, tuple) or not all(hasattr(leaf, "shape") for leaf in source):
        return
    shapes = [tuple(leaf.shape) for leaf in source]
    if len({(shape[1:], str(leaf.dtype)) for shape, leaf in zip(shapes, source, strict=True)}) > 1:
        raise ValueError(
            f"batches is a tuple of arrays of shapes {', '.join(map(str, shapes))}, which looks like one data set "
            f"(inputs, targets) and not like batches: {advice}"
        )


def _is_smaller(shapes: Any, earlier: Any) -> bool:
    """Whether the arrays differ only in having fewer examples."""
    if [(shape[1:], dtype) for shape, dtype in shapes] != [(shape[1:], dtype) for shape, dtype in earlier]:
        return False
    pairs = [(new[:1], old[:1]) for (new, _), (old, _) in zip(shapes, earlier, strict=True)]
    return all(new <= old for new, old in pairs) and any(new < old for new, old in pairs)


def _as_array(leaf: Any) -> Any:
    """Arrays of other libraries, and numbers, as NumPy's."""
    if isinstance(leaf, jax.Array):
        return leaf
    array = np.asarray(leaf)
    if array.dtype.kind not in "biufcV":  # V: bfloat16 and its kin
        raise ValueError(f"a batch has to be made of numbers, got {type(leaf).__name__} of dtype {array.dtype}")
    return array
