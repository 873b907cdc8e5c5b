"""Parameters sharded over a mesh: every device packs the parts that it holds, and devices exchange only sums.

An update runs in `jax.shard_map`. A device's pages hold its own parts, so the state is sharded as the parameters are,
and no array is gathered: devices exchange a few dozen sums per tensor. The compiler by itself would gather whole
tensors to pack them.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import jax
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec

from velo.architectures.pages import Layout
from velo.shapes import Array, Float

try:
    _map = functools.partial(jax.shard_map, check_vma=False)
except AttributeError:  # JAX 0.6.0
    from jax.experimental.shard_map import shard_map

    _map = functools.partial(shard_map, check_rep=False)


@dataclasses.dataclass(frozen=True)
class PartLayout(Layout):
    """Where the parts that one device holds lie in its pages; for use within `Division.run`."""

    of: tuple[tuple[int, ...], ...] = ()
    """Shapes of the whole tensors."""
    axes: tuple[str, ...] = ()
    """Axes of the mesh that divide a tensor."""
    copies: tuple[int, ...] = ()
    """Number of devices along these axes that hold each part."""

    def subset(self, tensors: Sequence[int]) -> "PartLayout":
        of, copies = (tuple(field[index] for index in tensors) for field in (self.of, self.copies))
        return dataclasses.replace(cast(PartLayout, super().subset(tensors)), of=of, copies=copies)

    @property
    def whole_shapes(self) -> tuple[tuple[int, ...], ...]:
        return self.of

    def total(self, sums: Float[Array, "tensors ..."]) -> Float[Array, "tensors ..."]:
        shares = (1.0 / np.array(self.copies, np.float32)).reshape(-1, *[1] * (sums.ndim - 1))
        return jax.lax.psum(shares * sums, self.axes) if self.axes else sums

    def mean_of_parts(self, means: Float[Array, "tensors ..."]) -> Float[Array, "tensors ..."]:
        return jax.lax.pmean(means, self.axes) if self.axes else means


@dataclasses.dataclass(frozen=True)
class Division:
    """How the tensors of a tree are divided over the devices of one mesh; static."""

    shardings: tuple[NamedSharding, ...]
    shapes: tuple[tuple[int, ...], ...]

    @functools.cached_property
    def axes(self) -> tuple[str, ...]:
        """Axes of the mesh that divide a tensor, in the mesh's order."""
        used = {axis for sharding in self.shardings for axis in _axes(sharding)}
        return tuple(axis for axis in self.shardings[0].mesh.axis_names if axis in used)

    @property
    def signature(self) -> str:
        """Identifies the sharding, in the same way in every version of JAX.

        States of one signature have their parts in the same order.
        """
        sizes = [dict(sharding.mesh.shape) for sharding in self.shardings[:1]]
        return repr((sizes, [_entries(sharding) for sharding in self.shardings]))

    @property
    def everywhere(self) -> Any:
        """Partition spec of values that are the same on all devices."""
        return PartitionSpec()

    @property
    def by_device(self) -> Any:
        """Partition spec of arrays whose first axis is split by device."""
        return PartitionSpec(self.axes)

    @functools.cached_property
    def layout(self) -> PartLayout:
        """The layout of a device's parts."""
        sizes = self.shardings[0].mesh.shape
        num_parts = [math.prod(sizes[axis] for axis in _axes(sharding)) for sharding in self.shardings]
        num_devices = math.prod(sizes[axis] for axis in self.axes)
        parts = (one.shard_shape(shape) for one, shape in zip(self.shardings, self.shapes, strict=True))
        return PartLayout(
            shapes=tuple(tuple(part) for part in parts),
            of=self.shapes,
            axes=self.axes,
            copies=tuple(num_devices // number for number in num_parts),
        )

    def run(self, function: Callable, in_specs: Any, out_specs: Any) -> Callable:
        """`function` on every device, on the parts that lie there."""
        return _map(function, mesh=self.shardings[0].mesh, in_specs=in_specs, out_specs=out_specs)


def divide(shardings: Any, params: Any) -> tuple[Division, Any]:
    """(the division of these parameters, its partition specs as a tree like them).

    Args:
        shardings: a tree of `NamedSharding` like the parameters; its entries for masked parameters aren't read.

    Raises:
        ValueError: the trees differ, a leaf isn't a `NamedSharding`, they are of several meshes, or an axis of a
            parameter can't be divided evenly.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(params, is_leaf=_is_masked)
    try:
        chosen = structure.flatten_up_to(shardings)
    except (TypeError, ValueError) as error:
        raise ValueError(f"shardings has to be a tree like the parameters: {error}") from None
    specs, placings, shapes = [], [], []
    for (path, leaf), placing in zip(leaves, chosen, strict=True):
        if _is_masked(leaf):
            specs.append(leaf)
            continue
        name = jax.tree_util.keystr(path) or "the root"
        if not isinstance(placing, NamedSharding):
            raise ValueError(f"shardings: at {name} a jax.sharding.NamedSharding is needed, got {placing!r}")
        if placings and placing.mesh != placings[0].mesh:
            raise ValueError(f"shardings: all have to be of one mesh; {name} is on {placing.mesh}, not the first's")
        try:
            placing.shard_shape(leaf.shape)
        except ValueError as error:
            raise ValueError(f"shardings: {name} of shape {leaf.shape} can't be divided so: {error}") from None
        specs.append(placing.spec)
        placings.append(placing)
        shapes.append(leaf.shape)
    return Division(tuple(placings), tuple(shapes)), structure.unflatten(specs)


def _is_masked(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode)


def _axes(sharding: NamedSharding) -> tuple[str, ...]:
    """The axes of the mesh that divide the tensor."""
    return tuple(axis for entry in _entries(sharding) for axis in entry)


def _entries(sharding: NamedSharding) -> list[tuple[str, ...]]:
    """The axes of the mesh that divide each axis of the tensor, up to the last that is divided."""
    entries = [() if entry is None else entry if isinstance(entry, tuple) else (entry,) for entry in sharding.spec]
    while entries and not entries[-1]:
        entries.pop()
    return entries
