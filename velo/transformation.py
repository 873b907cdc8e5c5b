"""`velo.optimizer`: a learned optimizer as users create it, with weight decay, a step scale and a chosen horizon."""

import dataclasses
import hashlib
import os
from collections.abc import Callable
from typing import Any, NamedTuple, SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
import optax

from velo.accumulation import average_updates
from velo.architectures.velo.architecture import VeLO
from velo.architectures.velo.shards import divide
from velo.arguments import (
    check_count,
    check_gradients,
    check_loss,
    check_not_negative,
    check_parameters,
    check_positive,
    is_traced,
)
from velo.learned_optimizer import LearnedOptimizer, Theta, check_update_arguments
from velo.shapes import Float, Int, UInt
from velo.sharding import off_explicit_axes, on_explicit_axes
from velo.weights import DEFAULT_WEIGHTS, LIGHT_WEIGHTS, load_weights

Weights = str | os.PathLike | tuple[LearnedOptimizer, Theta]
Number = float | Float[jax.Array, ""]
PACKAGED = {"default": DEFAULT_WEIGHTS, "light": LIGHT_WEIGHTS}
Scale = Number | Callable[[Int[jax.Array, ""]], Float[jax.Array, ""]]
MAX_FINGERPRINT = 1021
"""Bytes; the largest prime below a kibibyte."""


class ScaledState(NamedTuple):
    """The state that `optimizer` carries from update to update."""

    count: Int[jax.Array, ""]
    learned: Any
    fingerprint: UInt[jax.Array, " fingerprint"]
    """Zeros, whose number is a digest of the parameters' shapes and shardings. An array's shape is known while a
    program is traced, so a change of the parameters' shapes is detected then. (The digest isn't an axis of an empty
    array, since Orbax refuses those.)"""


def optimizer(
    num_steps: SupportsIndex,
    weights: Weights = "default",
    *,
    weight_decay: Scale = 0.0,
    weight_decay_mask: Any = None,
    step_scale: Scale = 1.0,
    horizon: SupportsIndex | None = None,
    matrix_axes: Any = None,
    initial_distance: float | None = None,
    max_distance: Number | None = None,
    shardings: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """A learned optimizer for a run of `num_steps` steps; the loss goes in as `update(..., value=loss)`.

    One update is p <- p + step_scale (u - weight_decay p), where u is the learned update. Averages in the state are
    float32 whatever the dtypes of the parameters; updates have the parameters' dtypes. To freeze parts of the
    parameters, use `optax.partition` with `optax.set_to_zero()` for them: `optax.masked` alone would return their
    gradients as updates.

    Args:
        num_steps: length of the run in calls of `update`, at least 1. The schedule is part of what was learned:
            it ends at this step. From there on, the rate of VeLO stays at `final_rate` and that of Celo2 at zero, so
            that neither takes further learned steps by default. HyperV2, Celo and CeloAdam continue as their references
            do, with a fraction of training above one. AdafacMLP and RNNMLP don't read the length.
        weights: path of a weights file, or (architecture, theta). "default" is the file that comes with the package
            (docs/model_card.md); "light" is an elementwise VeLO, which takes less memory and time; "untrained" is VeLO
            before any meta-training: Adam's direction in the eigenbasis (SOAP, 2409.11321) under Prodigy's step size
            (2306.06101) with linear decay.
        weight_decay: fraction of each parameter that one update removes, before `step_scale` multiplies it: a number, a
            traced scalar or a function of the number of updates done. As there is no learning rate here, this
            corresponds to AdamW's learning rate times its decay: 1e-4 is usual.
        weight_decay_mask: tree of bools like the parameters or a prefix of one, or a function from the parameters to
            it; None decays them all.
        step_scale: factor on every update: a number, a traced scalar or a function of the number of updates done. The
            weights were meta-trained with 1.
        horizon: longest run, in updates, for which the weights are used, such as the longest that they were
            meta-trained on. A longer run averages ceil(num_steps / horizon) gradients and losses into each update,
            and the parameters stay as they are in between. `weight_decay` and `step_scale` then apply to these updates
            alone and count only them. None trusts the weights with any length.
        matrix_axes: which axes of a tensor make up its matrices, for VeLO in the eigenbasis: `velo.MatrixAxes(rows,
            columns)` or None for each tensor, as a tree like the parameters, a prefix of one, or a function from the
            parameters to it. None follows the rules of `velo.architectures.velo.matrices`; give it for layers
            stacked in one tensor.
        initial_distance: VeLO's first estimate of the distance from the initial parameters to the solution, in units of
            a parameter. None takes the architecture's. The estimate sets the step size and never falls. It grows by
            factors, so a value that is far too low costs some steps, while one that is too high is never corrected.
            For fine-tuning choose a small value.
        max_distance: upper limit of VeLO's estimate, not below its first value; may be traced. None sets no limit.
        shardings: how the parameters are sharded over devices, for VeLO: a tree of `jax.sharding.NamedSharding` like
            the parameters, such as `jax.tree.map(lambda leaf: leaf.sharding, params)`. `init` then shards the state in
            the same way, and devices exchange only sums. None leaves it to the compiler, which gathers whole tensors.

    Under `optax.inject_hyperparams` with `static_args=("num_steps", "weights")`, `weight_decay`, `step_scale` and
    `max_distance` are numbers in the state that may change during a run. If `horizon` or `initial_distance` is given,
    it has to be static too.

    `init` also takes shapes and dtypes (`jax.ShapeDtypeStruct`), and then returns those of the state.

    Raises:
        ValueError: an argument is out of range or of the wrong kind, or `weights` is not a weights file. `init` raises
            one that names the leaf if a parameter is not of a floating type. `update` raises one if `params` or `value`
            is missing, if `value` is not a scalar, or if gradients, parameters and state don't belong together.
        FileNotFoundError: there is no such weights file.
    """
    length = check_count("num_steps", num_steps)
    for name, scale in (("weight_decay", weight_decay), ("step_scale", step_scale)):
        if not callable(scale):
            check_not_negative(name, scale)
    every = 1 if horizon is None else -(-length // check_count("horizon", horizon))
    architecture, theta = resolve_weights(weights)
    options = {}
    if matrix_axes is not None:
        if not (isinstance(architecture, VeLO) and architecture.has_basis):
            raise ValueError(f"matrix_axes: {type(architecture).__name__} has no basis, its state is elementwise")
        options["matrix_axes"] = matrix_axes
    if initial_distance is not None or max_distance is not None:
        architecture, options["max_distance"] = _limit_distance(architecture, initial_distance, max_distance)
    if shardings is not None:
        if not isinstance(architecture, VeLO):
            raise ValueError(f"shardings: {type(architecture).__name__} can't be divided by them, only VeLO can")
        options["shardings"] = shardings
    theta = off_explicit_axes(theta)

    def bound():
        """Binds anew at each use: theta's arrays get the axis types of the mesh that is set there."""
        return architecture.bind(jax.tree.map(jnp.asarray, theta), -(-length // every), **options)

    def init(params):
        fingerprint = jnp.zeros(_fingerprint(params, shardings), jnp.uint8)
        return ScaledState(jnp.zeros((), jnp.int32), bound().init(params), fingerprint)

    def update(updates, state, params=None, *, value=None, **extra_args):
        del extra_args
        _check_state(state, params, shardings)
        try:
            updates, learned_state = bound().update(updates, state.learned, params, value=value)
        except Exception as error:
            _check_learned_state(bound(), state, params, error)
            raise
        scale = _at(state.count, step_scale)
        decay = _at(state.count, weight_decay)
        updates = jax.tree.map(
            lambda step, leaf, decays: scale_step(step, leaf, scale, decay if decays else 0.0),
            updates,
            params,
            _mask(weight_decay_mask, params),
        )
        return updates, ScaledState(jnp.asarray(optax.safe_increment(state.count)), learned_state, state.fingerprint)

    tx = average_updates(optax.GradientTransformationExtraArgs(init, update), every)
    return _checked(of_shapes(tx if shardings is not None else on_explicit_axes(tx)))


def _checked(tx: optax.GradientTransformationExtraArgs) -> optax.GradientTransformationExtraArgs:
    """`tx` with checks of its arguments."""

    def init(params):
        check_parameters(params)
        return tx.init(params)

    def update(updates, state, params=None, *, value=None, **extra_args):
        del extra_args
        check_update_arguments(params, value)
        loss = check_loss(value)
        check_parameters(params)
        check_gradients(updates, params)
        return tx.update(updates, state, params, value=loss)

    return optax.GradientTransformationExtraArgs(init, update)


def _limit_distance(architecture, initial, limit) -> tuple[LearnedOptimizer, Any]:
    """The architecture with this first estimate, and the checked upper limit."""
    for name, value in (("initial_distance", initial), ("max_distance", limit)):
        if value is None:
            continue
        check_positive(name, value)
        if not isinstance(architecture, VeLO):
            raise ValueError(f"{name}: {type(architecture).__name__} has no estimate of the distance")
    if is_traced(initial):
        raise ValueError(
            "initial_distance has to be a Python number, got a traced value: it is static, and "
            "optax.inject_hyperparams takes it as static_args=('initial_distance',)"
        )
    if initial is not None:
        architecture = dataclasses.replace(architecture, initial_distance=float(initial))
    if limit is None or is_traced(limit):
        return architecture, limit
    if float(limit) < architecture.initial_distance:
        least = architecture.initial_distance
        raise ValueError(f"max_distance has to be at least the first estimate, {least}, got {limit!r}")
    return architecture, float(limit)


def of_shapes(tx: optax.GradientTransformationExtraArgs) -> optax.GradientTransformationExtraArgs:
    """`tx`, whose `init` takes shapes and dtypes (`jax.ShapeDtypeStruct`) too, and then returns those of the state."""

    def init(params):
        if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(params)):
            return jax.eval_shape(tx.init, params)
        return tx.init(params)

    return optax.GradientTransformationExtraArgs(init, tx.update)


def _at(count: Int[jax.Array, ""], scale: Scale) -> Any:
    return scale(count) if callable(scale) else scale


def scale_step(step, leaf, scale, weight_decay):
    """scale (step - weight_decay leaf) in float32, cast to the dtype of `step`; `step` itself where nothing changes."""
    if _is(weight_decay, 0.0):
        return step if _is(scale, 1.0) else (scale * step.astype(jnp.float32)).astype(step.dtype)
    total = step.astype(jnp.float32) - weight_decay * leaf.astype(jnp.float32)
    return (scale * total).astype(step.dtype)


def _is(value, constant: float) -> bool:
    return isinstance(value, int | float) and value == constant


def _mask(mask, params):
    """A bool for each parameter.

    Raises:
        ValueError: the mask is not a prefix of the parameters, or its leaves are not bools.
    """
    if mask is None:
        return jax.tree.map(lambda _: True, params)
    chosen = mask(params) if callable(mask) else mask
    if not all(isinstance(leaf, bool | np.bool_) for leaf in jax.tree.leaves(chosen)):
        raise ValueError(f"weight_decay_mask has to be a tree of bools, got {chosen!r}")
    try:
        return jax.tree.map(lambda decays, below: jax.tree.map(lambda _: bool(decays), below), chosen, params)
    except ValueError as error:
        raise ValueError(
            f"weight_decay_mask has to be a tree like the parameters or a prefix of them: {error}"
        ) from None


def resolve_weights(weights: Any) -> tuple[LearnedOptimizer, Theta]:
    """The architecture and its theta; errors as in `optimizer`."""
    if isinstance(weights, tuple):
        if len(weights) != 2 or not isinstance(weights[0], LearnedOptimizer):
            raise ValueError("weights as a tuple has to be (architecture, theta), such as velo.load_weights returns")
        _check_theta(*weights)
        return weights
    if not isinstance(weights, str | os.PathLike):
        raise ValueError(
            "weights has to be a path, 'default', 'light', 'untrained', or a tuple (architecture, theta), got "
            f"{type(weights).__name__}"
        )
    if weights == "untrained":
        architecture = VeLO()
        with jax.ensure_compile_time_eval():  # a constant, also where a program is being traced
            return architecture, architecture.init(jax.random.key(0))
    return load_weights(PACKAGED.get(weights, weights) if isinstance(weights, str) else weights)


def _check_theta(architecture, theta) -> None:
    """Raises a ValueError if theta doesn't have the tree and shapes of the architecture's."""
    given, wanted = (
        {jax.tree_util.keystr(path): jnp.shape(leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}
        for tree in (theta, jax.eval_shape(architecture.init, jax.random.key(0)))
    )
    for path in [*wanted, *given]:
        if given.get(path) != wanted.get(path):
            found, expected = (f"shape {x[path]}" if path in x else "none" for x in (given, wanted))
            raise ValueError(
                f"weights: theta has to be that of {type(architecture).__name__}: at {path or 'the root'} it has "
                f"{found}, not {expected}"
            )


def _fingerprint(params, shardings) -> int:
    shapes = repr([jnp.shape(leaf) for leaf in jax.tree.leaves(params)])
    if shardings is not None:
        shapes += divide(shardings, params)[0].signature
    return 1 + int.from_bytes(hashlib.sha256(shapes.encode()).digest()[:8]) % MAX_FINGERPRINT


def _check_state(state, params, shardings) -> None:
    """Raises a ValueError if the state was not made for parameters of these shapes and shardings."""
    if not isinstance(state, ScaledState):
        raise ValueError(f"the state has to be what tx.init(params) returned, got {type(state).__name__}")
    if jnp.shape(state.fingerprint) != (_fingerprint(params, shardings),):
        raise ValueError(
            "the state was made for parameters of other shapes: call tx.init(params) anew when the network, or "
            "shardings=, changes"
        )


def _check_learned_state(learned, state, params, cause: Exception) -> None:
    """Raises a ValueError if an update failed because its state was made with other weights."""
    expected = jax.eval_shape(learned.init, params)
    shapes = [[jnp.shape(leaf) for leaf in jax.tree.leaves(tree)] for tree in (state.learned, expected)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            "the state was made with other weights: call tx.init(params) anew when the optimizer changes"
        ) from cause
