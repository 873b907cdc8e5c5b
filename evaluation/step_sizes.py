"""Records an optimizer's relative step sizes in its state: RMS of the update / RMS of the parameters, per tensor."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from evaluation.curves import StepSizes

NUM_POINTS = 60
"""Maximum number of steps that are recorded; they are evenly spaced."""
TINY = 1e-12


class RecordedState(NamedTuple):
    """The state of the wrapped optimizer, and the step sizes recorded so far."""

    inner: Any
    values: jax.Array  # [points, tensors]
    count: jax.Array  # number of steps taken


def interval(num_steps: int) -> int:
    """Steps from one recorded point to the next."""
    return max(1, -(-num_steps // NUM_POINTS))


def recorded(tx: optax.GradientTransformation, num_steps: int) -> optax.GradientTransformationExtraArgs:
    """Wraps `tx` to record its step sizes at up to `NUM_POINTS` steps in its state; the updates stay the same."""
    tx = optax.with_extra_args_support(tx)
    every = interval(num_steps)

    def init(params):
        shape = (-(-num_steps // every), len(jax.tree.leaves(params)))
        return RecordedState(tx.init(params), jnp.zeros(shape), jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, **extra_args):
        updates, inner = tx.update(updates, state.inner, params, **extra_args)
        pairs = zip(jax.tree.leaves(updates), jax.tree.leaves(params), strict=True)
        sizes = jnp.stack([_rms(update) / jnp.maximum(_rms(param), TINY) for update, param in pairs])
        # Only the first step of an interval is recorded: the others write outside the array, which drops the values.
        index = jnp.where(state.count % every == 0, state.count // every, state.values.shape[0])
        values = state.values.at[index].set(sizes, mode="drop")
        return updates, RecordedState(inner, values, state.count + 1)

    return optax.GradientTransformationExtraArgs(init, update)


def _rms(tensor) -> jax.Array:
    """Root mean square, in float32."""
    return jnp.sqrt(jnp.mean(jnp.square(tensor.astype(jnp.float32))))


def state_bytes(opt_state: Any) -> int:
    """Bytes of an optimizer's state, over all lanes, without what `recorded` adds to it."""
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, RecordedState))
    own = [node.inner if isinstance(node, RecordedState) else node for node in nodes]
    return sum(leaf.nbytes for leaf in jax.tree.leaves(own))


def collect(opt_state: Any, params: Any, num_steps: int) -> list[StepSizes] | None:
    """The step sizes of each lane, the leading axis of all leaves of `opt_state`; None if none were recorded."""
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, RecordedState))
    states = [node for node in nodes if isinstance(node, RecordedState)]
    if not states:
        return None
    names = tuple(
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, _ in jax.tree_util.tree_leaves_with_path(params)
    )
    steps = np.arange(0, num_steps, interval(num_steps))
    return [StepSizes(names, steps, values) for values in np.asarray(states[0].values, np.float32)]
