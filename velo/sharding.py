"""Parameters on a mesh with axes of type Explicit: updates are computed on Auto axes, with given output shardings.

On Explicit axes every operation needs a rule for the sharding of its result, and packing tensors into one array has
none.
"""

import math
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import PartitionSpec

from velo.arguments import is_traced

MIN_DIVIDED = 1 << 16
"""Fewest entries of a state's array that is sharded over the devices; smaller arrays are replicated."""


def on_explicit_axes(tx: optax.GradientTransformationExtraArgs) -> optax.GradientTransformationExtraArgs:
    """`tx`, also for parameters on explicit axes.

    Updates are sharded as their parameters. A large array of a new state is sharded along its last axis, if the devices
    divide that evenly, whatever the sharding of the parameters. It keeps this sharding.
    """

    def init(params):
        mesh = _explicit_mesh(params)
        if mesh is None:
            return tx.init(params)
        blank = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
        specs = jax.tree.map(lambda leaf: _divided(leaf, mesh), jax.eval_shape(tx.init, blank))
        return _on_auto_axes(tx.init, mesh, specs)(params)

    def update(updates, state, params=None, *, value=None, **extra_args):
        mesh = None if params is None else _explicit_mesh(params)
        if mesh is None:
            return tx.update(updates, state, params, value=value, **extra_args)
        specs = jax.tree.map(lambda leaf: jax.typeof(leaf).sharding.spec, (params, state))
        return _on_auto_axes(_with_loss(tx), mesh, specs)(updates, state, params, value)

    return optax.GradientTransformationExtraArgs(init, update)


def off_explicit_axes(theta: Any) -> Any:
    """Theta with NumPy arrays in place of arrays on a mesh with explicit axes, which operations on Auto axes refuse.

    Under `jax.set_mesh`, all new arrays lie on the mesh.
    """
    return jax.tree.map(lambda leaf: np.asarray(leaf) if _lies_there(leaf) else leaf, theta)


def _lies_there(leaf: Any) -> bool:
    return not is_traced(leaf) and _explicit_mesh(leaf) is not None


def _with_loss(tx):
    """The update with positional arguments only: a keyword would keep its explicit type, which operations refuse."""
    return lambda updates, state, params, value: tx.update(updates, state, params, value=value)


def _explicit_mesh(params: Any) -> Any:
    """The mesh of the first parameter that lies on one with explicit axes."""
    for leaf in jax.tree.leaves(params):
        sharding = getattr(jax.typeof(leaf), "sharding", None) if isinstance(leaf, jax.Array) else None
        if sharding is not None and _explicit_axes(sharding.mesh):
            if is_traced(leaf):
                return sharding.mesh
            placing: Any = leaf.sharding
            return placing.mesh
    return None


def _explicit_axes(mesh: Any) -> tuple[str, ...]:
    types = zip(mesh.axis_names, getattr(mesh, "axis_types", None) or (), strict=False)
    return tuple(name for name, kind in types if kind == jax.sharding.AxisType.Explicit)


def _divided(leaf: Any, mesh: Any) -> PartitionSpec:
    axes = _explicit_axes(mesh)
    num_devices = math.prod(mesh.shape[axis] for axis in axes)
    if leaf.ndim < 2 or leaf.size < MIN_DIVIDED or leaf.shape[-1] % num_devices:
        return PartitionSpec()
    return PartitionSpec(*[None] * (leaf.ndim - 1), axes)


def _on_auto_axes(function: Any, mesh: Any, specs: Any) -> Any:
    """`function` on Auto axes with its results sharded by `specs`, within a traced program or outside."""
    auto = jax.sharding.auto_axes(function, axes=_explicit_axes(mesh), out_sharding=specs)

    def call(*args):
        is_abstract = isinstance(mesh, jax.sharding.AbstractMesh)
        with jax.sharding.use_abstract_mesh(mesh) if is_abstract else jax.set_mesh(mesh):
            return auto(*args)

    return call
