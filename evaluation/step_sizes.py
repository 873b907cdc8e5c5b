"""Watches how far an optimizer moves each tensor, without changing what it does."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from evaluation.curves import StepSizes

NUM_POINTS = 60
TINY = 1e-12


class WatchedState(NamedTuple):
    inner: Any
    values: jax.Array  # [points, tensors]
    step: jax.Array


def interval(num_steps: int) -> int:
    """Steps from one point to the next."""
    return max(1, -(-num_steps // NUM_POINTS))


def watched(tx: optax.GradientTransformation, num_steps: int) -> optax.GradientTransformationExtraArgs:
    """`tx` with a record of every tensor's relative step size at up to 60 evenly spaced steps."""
    tx = optax.with_extra_args_support(tx)
    every = interval(num_steps)

    def init(params):
        shape = (-(-num_steps // every), len(jax.tree.leaves(params)))
        return WatchedState(tx.init(params), jnp.zeros(shape), jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, **extra_args):
        updates, inner = tx.update(updates, state.inner, params, **extra_args)
        pairs = zip(jax.tree.leaves(updates), jax.tree.leaves(params), strict=True)
        sizes = jnp.stack([_rms(step) / jnp.maximum(_rms(weight), TINY) for step, weight in pairs])
        # The first of an interval stays: the others write to a place outside, which is dropped.
        place = jnp.where(state.step % every == 0, state.step // every, state.values.shape[0])
        values = state.values.at[place].set(sizes, mode="drop")
        return updates, WatchedState(inner, values, state.step + 1)

    return optax.GradientTransformationExtraArgs(init, update)


def _rms(tensor) -> jax.Array:
    return jnp.sqrt(jnp.mean(jnp.square(tensor.astype(jnp.float32))))


def state_bytes(opt_state: Any) -> int:
    """Of the optimizer's state without the record."""
    kinds = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, WatchedState))
    own = [node.inner if isinstance(node, WatchedState) else node for node in kinds]
    return sum(leaf.nbytes for leaf in jax.tree.leaves(own))


def collect(opt_state: Any, params: Any, num_steps: int) -> list[StepSizes] | None:
    """One record a lane (the leading axis of all leaves); None if nothing was watched."""
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, WatchedState))
    states = [node for node in nodes if isinstance(node, WatchedState)]
    if not states:
        return None
    names = tuple(
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, _ in jax.tree_util.tree_leaves_with_path(params)
    )
    steps = np.arange(0, num_steps, interval(num_steps))
    return [StepSizes(names, steps, values) for values in np.asarray(states[0].values, np.float32)]
