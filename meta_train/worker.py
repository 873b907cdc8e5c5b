"""One logical worker's contribution to an outer step: a pure function of (settings, theta, step, worker, state)."""

import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from meta_train.estimators.base import GradientEstimator
from meta_train.learner import Contribution, Failure
from meta_train.problem import Problem
from meta_train.programs import Programs
from meta_train.settings import MetaTraining
from meta_train.task_problem import TaskData, TaskProblem
from tasks.family import TaskFamily
from tasks.mixture import Mixture
from velo.learned_optimizer import Theta


@functools.partial(jax.jit, static_argnums=(0, 1))
def _rebuild(estimator: GradientEstimator, seed: int, theta, worker, step, coefficients):
    return estimator.rebuild(theta, _keys(seed, worker, step)[1], coefficients)


def _keys(seed: int, worker, step) -> tuple[jax.Array, jax.Array]:
    key_init, key = jax.random.split(jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), worker), step))
    return key_init, key


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _lengths(estimator: GradientEstimator, problem: Problem, seed: int, workers, step, data):
    return jax.vmap(lambda worker: estimator.num_segments(problem, data, _keys(seed, worker, step)[1]))(workers)


def lengths(settings: MetaTraining, step: int) -> np.ndarray:
    """Segments of each worker's contribution to a synchronous outer step, shape (num_workers,).

    The Ray executor starts the longest contributions first.
    """
    problem = problem_of(settings, 0, 0)  # of any task: lengths follow from the episodes alone
    data = TaskData((), (), jnp.asarray(settings.curriculum.max_steps(settings.episodes, step), jnp.int32))
    workers = np.arange(settings.num_workers)
    return np.asarray(_lengths(settings.estimator, problem, settings.seed, workers, np.int32(step), data))


def worker_keys(settings: MetaTraining, worker: int, step: int) -> tuple[jax.Array, jax.Array]:
    """(key of a family's start, key of the estimate). Derived and never stored, so a restart gives the same keys."""
    return _keys(settings.seed, worker, step)


def family_of(settings: MetaTraining, worker: int, step: int) -> TaskFamily:
    """The architecture that a worker's tasks have at its step `step`; a worker keeps one for `family_steps` steps.

    With a pool it is one of `family_pool` architectures, so that a process compiles each once. Each of the mixture's
    families has a share of the pool in proportion to its weight.
    """
    mixture = settings.curriculum.mixture(settings.mixture, family_start(settings, step))
    index = step // settings.family_steps * settings.num_workers + worker
    if not settings.family_pool:
        return _sample(mixture, settings.seed, index)
    index = _pooled(settings.seed, settings.family_pool, index)
    return _sample(mixture, settings.seed, index, (index + 0.5) / settings.family_pool)


@functools.lru_cache(maxsize=64)
def _permutation(seed: int, pool: int, cycle: int) -> np.ndarray:
    return np.random.default_rng((seed, 1, cycle)).permutation(pool)


def _pooled(seed: int, pool: int, index: int) -> int:
    cycle, place = divmod(index, pool)
    return int(_permutation(seed, pool, cycle)[place])


@functools.lru_cache(maxsize=4096)
def _sample(mixture: Mixture, seed: int, index: int, place: float | None = None) -> TaskFamily:
    return mixture.sample(np.random.default_rng((seed, 2, index)), place)


def family_start(settings: MetaTraining, step: int) -> int:
    """The outer step at which a worker got the family that it has at `step`."""
    return step - step % settings.family_steps


def problem_of(settings: MetaTraining, worker: int, step: int) -> TaskProblem:
    """The problem that a worker's estimator differentiates at an outer step."""
    return TaskProblem(family_of(settings, worker, step), settings.optimizer, settings.episodes)


def abstract_state(settings: MetaTraining, theta: Theta, worker: int, step: int) -> Any:
    """Shapes of the estimator's state after the worker's step `step`, without computing it.

    () for an estimator without a state, and for a negative `step`, which is before the worker's first one.
    """
    if not settings.estimator.persistent or step < 0:
        return ()
    problem = problem_of(settings, worker, step)
    init = functools.partial(settings.estimator.init, problem)
    return jax.eval_shape(init, theta, problem.data(), jax.random.key(0))


def compute(
    settings: MetaTraining, programs: Programs, theta: Theta, theta_step: int, step: int, worker: int, state: Any
) -> tuple[Contribution, Any]:
    """A worker's contribution for its step `step`, and the estimator's state for its next step.

    The contribution of a seeded estimator holds coefficients, from which `complete` computes the gradient. The arrays
    of the result are NumPy's, since they cross processes.

    Args:
        settings: of the run.
        programs: cache of compiled programs; it doesn't change the result.
        theta: meta-parameters.
        theta_step: outer steps done when `theta` was current.
        step: the worker's own step; equal to `theta_step` in a synchronous run.
        worker: the worker's number.
        state: of the estimator after the worker's last step; ignored where a family starts.
    """
    started = time.perf_counter()
    problem = problem_of(settings, worker, step)
    program = programs.of(problem)
    key_init, key = worker_keys(settings, worker, step)
    data = problem.data(settings.curriculum.max_steps(settings.episodes, step))
    if step == family_start(settings, step):
        state = program.init(theta, data, key_init)
    estimate, state = jax.device_get(program.estimate(theta, state, data, key))
    contribution = Contribution(
        worker=worker,
        step=step,
        theta_step=theta_step,
        grad=estimate.grad,
        loss=float(estimate.loss),
        num_nonfinite=int(estimate.num_nonfinite),
        num_inner_steps=int(estimate.num_inner_steps),
        seconds=time.perf_counter() - started,
        coefficients=estimate.coefficients,
    )
    return contribution, state


def attempt(
    settings: MetaTraining, programs: Programs, theta: Theta, theta_step: int, step: int, worker: int, state: Any
) -> tuple[Contribution | Failure, Any]:
    """`compute`, or a `Failure` in place of the contribution if the task raises.

    A task may not compile or not fit into memory; the run then continues without it.
    """
    try:
        contribution, state = compute(settings, programs, theta, theta_step, step, worker, state)
    except Exception as error:
        return Failure(worker, step, f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"), ()
    if settings.execution.send_gradients:
        contribution = complete(settings, theta, contribution)
    return contribution, state


def complete(settings: MetaTraining, theta: Theta, contribution: Contribution) -> Contribution:
    """The contribution with its gradient. Workers and learner run the same compiled program and get the same bits."""
    if contribution.grad is not None:
        return contribution
    place = np.int32(contribution.worker), np.int32(contribution.step)
    grad = _rebuild(settings.estimator, settings.seed, theta, *place, contribution.coefficients)
    return contribution._replace(grad=jax.device_get(grad))
