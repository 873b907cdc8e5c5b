"""Optimizers whose returned point is not the one at which they take gradients: averages and slow weights.

`average`, `slow_weights`, `schedule_free_average` and `schedule_free_plus_average` have the signature of
`Baseline.evaluation_params`. They find the state however deep it is nested in `opt_state`, and raise a ValueError
unless there is exactly one of its kind.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from evaluation.baselines.schedule_free_plus import ScheduleFreePlusState

GAMMA = 8
"""Exponent of the polynomial-decay average with which DoG (2302.12022) is evaluated."""


class AveragedState(NamedTuple):
    """State of the wrapped optimizer, and the average of its iterates."""

    inner: Any
    average: Any
    count: jax.Array


def averaged(tx: optax.GradientTransformation, gamma: float = GAMMA) -> optax.GradientTransformationExtraArgs:
    """Wraps `tx` to keep the polynomial-decay average of its iterates (1212.1824, as DoG's authors use it).

    With the iterate x_t after step t = 1, 2, ...:

        xbar_t = (1 - w_t) xbar_{t-1} + w_t x_t,  w_t = (1 + gamma) / (t + gamma)

    As w_1 is 1, the initial point has no weight. Late iterates weigh as t^gamma. The updates are those of `tx`, but
    `update` needs `params`.
    """
    tx = optax.with_extra_args_support(tx)

    def init(params):
        return AveragedState(tx.init(params), params, jnp.zeros((), jnp.int32))

    def update(updates, state, params: Any = None, **extra_args):
        updates, inner = tx.update(updates, state.inner, params, **extra_args)
        count = state.count + 1
        weight = (1.0 + gamma) / (count + gamma)
        iterate = optax.apply_updates(params, updates)
        average = jax.tree.map(
            lambda mean, new: ((1.0 - weight) * mean + weight * new).astype(new.dtype), state.average, iterate
        )
        return updates, AveragedState(inner, average, count)

    return optax.GradientTransformationExtraArgs(init, update)


class SlowState(NamedTuple):
    """State of the wrapped optimizer, and the slow weights."""

    inner: Any
    slow: Any


def lookahead(
    tx: optax.GradientTransformation, sync_period: int, slow_step_size
) -> optax.GradientTransformationExtraArgs:
    """optax's Lookahead (1907.08610) with the slow weights in the state, so that params are an ordinary pytree.

    Args:
        tx: the fast optimizer; it gets no extra arguments.
        sync_period: number of steps of `tx` from one synchronisation to the next.
        slow_step_size: share of the way to the fast weights that the slow ones move at a synchronisation.
    """
    pair = optax.lookahead(tx, sync_period, slow_step_size)

    def init(params):
        return SlowState(pair.init(optax.LookaheadParams.init_synced(params)), params)

    def update(updates, state, params: Any = None, **extra_args):
        del extra_args
        params = optax.LookaheadParams(fast=params, slow=state.slow)
        both: Any
        both, inner = pair.update(updates, state.inner, params)
        return both.fast, SlowState(inner, optax.apply_updates(state.slow, both.slow))

    return optax.GradientTransformationExtraArgs(init, update)


def average(opt_state: Any, params: Any) -> Any:
    """The average that `averaged` keeps."""
    del params
    return _find(opt_state, AveragedState).average


def slow_weights(opt_state: Any, params: Any) -> Any:
    """Lookahead's slow weights."""
    del params
    return _find(opt_state, SlowState).slow


def schedule_free_average(opt_state: Any, params: Any) -> Any:
    """x of schedule-free (2405.15682), computed from z in the state and from `params`, which are y."""
    return contrib.schedule_free_eval_params(_find(opt_state, contrib.ScheduleFreeState), params)


def schedule_free_plus_average(opt_state: Any, params: Any) -> Any:
    """x of `schedule_free_plus`."""
    del params
    return _find(opt_state, ScheduleFreePlusState).x


def _find(opt_state: Any, kind: type) -> Any:
    """The only state of this type in a tree of optimizer states."""
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, kind))
    found = [node for node in nodes if isinstance(node, kind)]
    if len(found) != 1:
        raise ValueError(f"needs one {kind.__name__} in the optimizer's state, got {len(found)}")
    return found[0]
