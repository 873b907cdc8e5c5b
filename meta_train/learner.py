"""The outer step: averages the workers' gradients and updates theta."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from velo.learned_optimizer import Theta


class Contribution(NamedTuple):
    """What one logical worker returns for one of its steps."""

    worker: int
    step: int  # the worker's own
    theta_step: int  # outer steps done when its theta was current
    grad: Theta | None  # None if it has to be rebuilt from the coefficients
    loss: float
    num_nonfinite: int
    num_inner_steps: int
    seconds: float  # wall-clock, compilation included
    coefficients: Any = None  # of the pairs' noise, [pairs], where the estimator is seeded


class Failure(NamedTuple):
    """What a worker returns instead of a contribution when its task raises."""

    worker: int
    step: int
    message: str


class LearnerState(NamedTuple):
    """What an outer step reads and returns."""

    theta: Theta
    average: Theta  # exponential average of theta over the outer steps: what is exported
    opt_state: Any
    step: int


class UpdateMetrics(NamedTuple):
    """What the log says of an outer step."""

    loss: float  # mean over the finite contributions; NaN if there is none
    grad_norm: float  # of their mean gradient, before the outer optimizer clips it; NaN if there is none
    num_nonfinite: int  # training losses of the inner steps that were not finite
    num_rejected: int  # contributions with a non-finite gradient or loss, left out
    num_inner_steps: int


def init(outer_tx: optax.GradientTransformation, theta: Theta) -> LearnerState:
    """The state before the first outer step."""
    return LearnerState(theta, theta, outer_tx.init(theta), 0)


def update(
    outer_tx: optax.GradientTransformation,
    state: LearnerState,
    contributions: list[Contribution],
    average_decay: float,
    complete: Callable[[Contribution], Contribution] = lambda contribution: contribution,
) -> tuple[LearnerState, UpdateMetrics]:
    """One outer step on the mean gradient of the finite contributions; theta stays if there is none.

    Gradients are summed in worker order, so that the order of arrival can't change the result.

    Args:
        outer_tx: the outer optimizer.
        state: of the last outer step.
        contributions: in any order.
        average_decay: of the exponential average of theta.
        complete: gives a contribution its gradient. Called for one at a time: a cluster's gradients together may not
            fit into memory.
    """
    ordered = sorted(contributions, key=lambda contribution: (contribution.worker, contribution.step))
    total, usable = None, []
    for contribution in ordered:
        if not is_finite(contribution):
            continue
        grad = complete(contribution).grad
        total = grad if total is None else jax.tree.map(np.add, total, grad)
        usable.append(contribution)
    metrics = UpdateMetrics(
        loss=float(np.mean([c.loss for c in usable])) if usable else math.nan,
        grad_norm=math.nan,
        num_nonfinite=sum(c.num_nonfinite for c in ordered),
        num_rejected=len(ordered) - len(usable),
        num_inner_steps=sum(c.num_inner_steps for c in ordered),
    )
    if not usable:
        return state._replace(step=state.step + 1), metrics
    grad = jax.tree.map(lambda leaf: leaf / np.float32(len(usable)), total)
    updates, opt_state = outer_tx.update(grad, state.opt_state, state.theta)
    theta = optax.apply_updates(state.theta, updates)
    # The decay rises from 0: the first update replaces the untrained theta, and early thetas soon lose their weight.
    decay = min(average_decay, state.step / (state.step + 10.0))
    average = jax.tree.map(lambda old, new: decay * old + (1.0 - decay) * new, state.average, theta)
    metrics = metrics._replace(grad_norm=float(optax.tree.norm(grad)))
    return LearnerState(theta, average, opt_state, state.step + 1), metrics


def is_finite(contribution: Contribution) -> bool:
    """Whether its loss and all its arrays are finite."""
    leaves = jax.tree.leaves((contribution.grad, contribution.coefficients))
    return math.isfinite(contribution.loss) and all(bool(np.all(np.isfinite(leaf))) for leaf in leaves)


def num_bytes(contribution: Contribution) -> int:
    """Bytes of its arrays, which is nearly all that is sent."""
    return sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves((contribution.grad, contribution.coefficients)))
