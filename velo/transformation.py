"""`velo.optimizer`: a learned optimizer as users ask for it, with weight decay, a step scale and a chosen horizon."""

import operator
import os
from collections.abc import Callable
from typing import Any, NamedTuple, SupportsIndex

import jax
import jax.numpy as jnp
import optax

from velo.accumulation import average_updates
from velo.architectures.velo.architecture import VeLO
from velo.learned_optimizer import LearnedOptimizer, Theta, check_update_arguments
from velo.shapes import Float, Int
from velo.weights import DEFAULT_WEIGHTS, LIGHT_WEIGHTS, load_weights

Weights = str | os.PathLike | tuple[LearnedOptimizer, Theta]
Number = float | Float[jax.Array, ""]
PACKAGED = {"default": DEFAULT_WEIGHTS, "light": LIGHT_WEIGHTS}
Scale = Number | Callable[[Int[jax.Array, ""]], Float[jax.Array, ""]]


class ScaledState(NamedTuple):
    count: Int[jax.Array, ""]
    learned: Any


def optimizer(
    num_steps: SupportsIndex,
    weights: Weights = "default",
    *,
    weight_decay: Number = 0.0,
    weight_decay_mask: Any = None,
    step_scale: Scale = 1.0,
    horizon: SupportsIndex | None = None,
    matrix_axes: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """A learned optimizer for a run of `num_steps` steps; the loss goes in as `update(..., value=loss)`.

    One update is p <- p - scale (learned step + weight_decay p). The state is float32 whatever the dtype of the
    parameters; updates have their dtype. Parts of the parameters are frozen with `optax.masked` or `optax.partition`.

    Args:
        num_steps: length of the run in calls of `update`, at least 1. The schedule is part of what was learned:
            it ends at this step. Beyond it VeLO stands still (its schedule has reached `final_rate`), while the
            released architectures go on as their references do, with a fraction of training above one.
        weights: a weights file, or an architecture and its theta. "default" are those that come with the package
            (docs/model_card.md); "light" elementwise ones, for less memory and time; "untrained" is VeLO before any
            meta-training: Adam's direction in the eigenbasis (SOAP, 2409.11321) under Prodigy's step size (2306.06101)
            with cosine decay.
        weight_decay: a number or a traced scalar, the fraction of each parameter that one step takes away, times
            the scale. As there is no learning rate here, this is AdamW's learning rate times its decay: 1e-4 is usual.
        weight_decay_mask: tree of bools like the parameters, or a function from them to it; None decays them all.
        step_scale: multiplies every step; a number, a traced scalar or a function of the step, counted from 0.
            1 is what was meta-trained.
        horizon: longest run, in updates, that the weights are to be asked for, such as the longest that they were
            meta-trained on. A longer run averages ceil(num_steps / horizon) gradients and losses into each update,
            and the parameters stay as they are in between. None trusts the weights with any length.
        matrix_axes: which axes of a tensor make up its matrices, for VeLO in the eigenbasis: `velo.MatrixAxes(rows,
            columns)` or None for each tensor, as a tree like the parameters, a prefix of one, or a function from the
            parameters to it. None follows the rules of `velo.architectures.velo.matrices`; say it for layers stacked in
            one tensor.

    Raises:
        ValueError: an argument is out of range, `weights` is no weights file; `init` raises one
            that names the leaf if a parameter is not of a floating type, `update` if `params` or `value` is missing,
            or where gradients, parameters and state don't belong together.
        FileNotFoundError: there is no such weights file.
    """
    length = check_count("num_steps", num_steps)
    _check_not_negative("weight_decay", weight_decay)
    if not callable(step_scale):
        _check_not_negative("step_scale", step_scale)
    every = 1 if horizon is None else -(-length // check_count("horizon", horizon))
    architecture, theta = resolve_weights(weights)
    if matrix_axes is None:
        learned = architecture.bind(theta, -(-length // every))
    elif isinstance(architecture, VeLO) and architecture.has_basis:
        learned = architecture.bind(theta, -(-length // every), matrix_axes)
    else:
        raise ValueError(f"matrix_axes: {type(architecture).__name__} has no basis, its state is elementwise")

    def init(params):
        _check_floating(params)
        return ScaledState(jnp.zeros((), jnp.int32), learned.init(params))

    def update(updates, state, params=None, *, value=None, **extra_args):
        del extra_args
        check_update_arguments(params, value)
        _check_same_tensors("the gradients", updates, params)
        try:
            updates, learned_state = learned.update(updates, state.learned, params, value=value)
        except Exception as error:
            _check_state(learned, state, params, error)
            raise
        scale = step_scale(state.count) if callable(step_scale) else step_scale
        decayed = _mask(weight_decay_mask, params)
        updates = jax.tree.map(
            lambda step, leaf, decays: scale_step(step, leaf, scale, weight_decay if decays else 0.0),
            updates,
            params,
            decayed,
        )
        return updates, ScaledState(jnp.asarray(optax.safe_increment(state.count)), learned_state)

    return average_updates(optax.GradientTransformationExtraArgs(init, update), every)


def scale_step(step, leaf, scale, weight_decay):
    """scale (step - weight_decay leaf) in float32, as the dtype of `step`; `step` itself where nothing changes."""
    if _is(weight_decay, 0.0):
        return step if _is(scale, 1.0) else (scale * step.astype(jnp.float32)).astype(step.dtype)
    total = step.astype(jnp.float32) - weight_decay * leaf.astype(jnp.float32)
    return (scale * total).astype(step.dtype)


def _is(value, constant: float) -> bool:
    return isinstance(value, int | float) and value == constant


def _mask(mask, params):
    if mask is None:
        return jax.tree.map(lambda _: True, params)
    return mask(params) if callable(mask) else mask


def resolve_weights(weights: Any) -> tuple[LearnedOptimizer, Theta]:
    """The architecture and its theta; errors as in `optimizer`."""
    if isinstance(weights, tuple):
        if len(weights) != 2 or not isinstance(weights[0], LearnedOptimizer):
            raise ValueError("weights as a tuple has to be (architecture, theta), such as velo.load_weights returns")
        return weights
    if weights == "untrained":
        architecture = VeLO()
        return architecture, architecture.init(jax.random.key(0))
    return load_weights(PACKAGED.get(weights, weights) if isinstance(weights, str) else weights)


def check_count(name: str, value: Any) -> int:
    """`value` as an int; a ValueError that says what it has to be if it is no integer of at least 1."""
    try:
        count = operator.index(value)
    except (TypeError, jax.errors.JAXTypeError):
        raise ValueError(f"{name} has to be a Python integer, a number of steps, got {value!r}") from None
    if isinstance(value, bool) or count < 1:
        raise ValueError(f"{name} has to be at least 1, got {value!r}")
    return count


def _check_not_negative(name: str, value: Any) -> None:
    if isinstance(value, int | float) and not 0 <= value < float("inf"):
        raise ValueError(f"{name} has to be finite and at least 0, got {value!r}")


def _check_floating(params) -> None:
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        dtype = jnp.result_type(leaf)
        if not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(
                f"parameter {jax.tree_util.keystr(path)} has dtype {dtype}, and only floating-point parameters can be "
                "optimized: take it out of the parameters or freeze it with optax.masked"
            )


def _check_same_tensors(name: str, tree, params) -> None:
    """Raises a ValueError that names the first tensor whose counterpart is missing or of another shape."""
    alike = jax.tree.structure(tree) == jax.tree.structure(params)
    if alike and [*map(jnp.shape, jax.tree.leaves(tree))] == [*map(jnp.shape, jax.tree.leaves(params))]:
        return
    given, wanted = (
        {jax.tree_util.keystr(path): jnp.shape(leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(x)[0]}
        for x in (tree, params)
    )
    for path in [*wanted, *given]:
        if given.get(path) != wanted.get(path):
            found, expected = (f"shape {x[path]}" if path in x else "none" for x in (given, wanted))
            raise ValueError(
                f"{name} have to be a tree like the parameters: at {path or 'the root'} they have {found}, the "
                f"parameters {expected}. Take them with jax.grad at the very params that go into update"
            )


def _check_state(learned, state, params, cause: Exception) -> None:
    """Raises a ValueError if an update failed since its state was made for other parameters."""
    if not isinstance(state, ScaledState):
        raise ValueError(f"the state has to be what tx.init(params) returned, got {type(state).__name__}") from cause
    expected = jax.eval_shape(learned.init, params)
    shapes = [[jnp.shape(leaf) for leaf in jax.tree.leaves(tree)] for tree in (state.learned, expected)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            "the state was made for parameters of other shapes: call tx.init(params) anew when the network changes"
        ) from cause
