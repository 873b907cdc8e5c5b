"""One logical worker's share of an outer step: a pure function of (settings, theta, step, worker, state)."""

import functools
import time
from typing import Any

import jax
import numpy as np

from meta_train.estimators.base import GradientEstimator
from meta_train.learner import Contribution
from meta_train.problem import Problem
from meta_train.settings import MetaTraining
from meta_train.task_problem import TaskProblem
from tasks.family import TaskFamily
from tasks.mixture import get_mixture
from velo.learned_optimizer import Theta


@functools.partial(jax.jit, static_argnums=(0, 1))
def _init(estimator: GradientEstimator, problem: Problem, theta, key):
    return estimator.init(problem, theta, key)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _estimate(estimator: GradientEstimator, problem: Problem, theta, state, data, key):
    return estimator.estimate(problem, theta, state, data, key)


def worker_key(settings: MetaTraining, worker: int, step: int) -> jax.Array:
    """Derived, never stored: the same on every machine and after every restart."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(settings.seed), worker), step)


def family_of(settings: MetaTraining, worker: int, step: int) -> TaskFamily:
    """The architecture that a worker trains at an outer step; it keeps one for `family_steps` steps.

    With a pool the architectures come from the first `family_pool` samples, so that a process compiles each once.
    """
    index = step // settings.family_steps * settings.num_workers + worker
    if settings.family_pool:
        cycle, place = divmod(index, settings.family_pool)
        index = int(np.random.default_rng((settings.seed, 1, cycle)).permutation(settings.family_pool)[place])
    return get_mixture(settings.mixture).sample(np.random.default_rng((settings.seed, 2, index)))


def problem_of(settings: MetaTraining, worker: int, step: int) -> TaskProblem:
    return TaskProblem(family_of(settings, worker, step), settings.optimizer, settings.episodes)


def starts_family(settings: MetaTraining, step: int) -> bool:
    return step % settings.family_steps == 0


def abstract_state(settings: MetaTraining, theta: Theta, worker: int, step: int) -> Any:
    """Shapes of the estimator's state after outer step `step`, without computing it."""
    problem = problem_of(settings, worker, step)
    return jax.eval_shape(functools.partial(_init, settings.estimator, problem), theta, jax.random.key(0))


def compute(settings: MetaTraining, theta: Theta, step: int, worker: int, state: Any) -> tuple[Contribution, Any]:
    """The worker's gradient at this step, and the state for its next; `state` is ignored where a family starts.

    Arrays of the result are NumPy's: they cross processes.
    """
    started = time.perf_counter()
    problem = problem_of(settings, worker, step)
    key_init, key = jax.random.split(worker_key(settings, worker, step))
    if starts_family(settings, step):
        state = _init(settings.estimator, problem, theta, key_init)
    data, _ = problem.family.load()
    estimate, state = jax.device_get(_estimate(settings.estimator, problem, theta, state, data, key))
    contribution = Contribution(
        worker=worker,
        step=step,
        grad=estimate.grad,
        loss=float(estimate.loss),
        num_nonfinite=int(estimate.num_nonfinite),
        num_inner_steps=int(estimate.num_inner_steps),
        seconds=time.perf_counter() - started,
    )
    return contribution, state
