"""Optimizers that return another point than the one where they take gradients: averages and slow weights."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from evaluation.baselines.schedule_free_plus import ScheduleFreePlusState

GAMMA = 8
"""Exponent of the polynomial average that DoG (2302.12022) is evaluated with."""


class AveragedState(NamedTuple):
    """State of the optimizer inside, and the average of its iterates."""

    inner: Any
    average: Any
    count: jax.Array


def averaged(tx: optax.GradientTransformation, gamma: float = GAMMA) -> optax.GradientTransformationExtraArgs:
    """`tx`, with the polynomial-decay average of its iterates beside it (1212.1824, as DoG's authors use it).

    xbar_t = (1 - (1 + gamma) / (t + gamma)) xbar_{t-1} + (1 + gamma) / (t + gamma) x_t for t = 1, 2, ..., so that the
    first iterate replaces the initial point and late ones weigh as t^gamma.
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
    """State of the optimizer inside, and the slow weights."""

    inner: Any
    slow: Any


def lookahead(
    tx: optax.GradientTransformation, sync_period: int, slow_step_size
) -> optax.GradientTransformationExtraArgs:
    """optax's Lookahead (1907.08610) with the slow weights in the state, so that the parameters are ordinary ones."""
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
    """The averaged iterate of `averaged`, whatever its state is wrapped in."""
    del params
    return _find(opt_state, AveragedState).average


def slow_weights(opt_state: Any, params: Any) -> Any:
    """Lookahead's slow weights."""
    del params
    return _find(opt_state, SlowState).slow


def schedule_free_average(opt_state: Any, params: Any) -> Any:
    """x of schedule-free (2405.15682) from y, where its gradients are taken, and z."""
    return contrib.schedule_free_eval_params(_find(opt_state, contrib.ScheduleFreeState), params)


def schedule_free_plus_average(opt_state: Any, params: Any) -> Any:
    """x of ScheduleFree+."""
    del params
    return _find(opt_state, ScheduleFreePlusState).x


def _find(opt_state: Any, kind: type) -> Any:
    """The one state of this type in a tree of optimizer states."""
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, kind))
    found = [node for node in nodes if isinstance(node, kind)]
    if len(found) != 1:
        raise ValueError(f"needs one {kind.__name__} in the optimizer's state, got {len(found)}")
    return found[0]
