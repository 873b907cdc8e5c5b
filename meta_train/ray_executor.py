"""Logical workers over Ray actors: the same contributions, wherever they are computed."""

import logging
import os
import warnings
from typing import Any

import ray
from ray.exceptions import RayError

from meta_train import environment, worker
from meta_train.executor import Executor
from meta_train.learner import Contribution
from meta_train.settings import MetaTraining
from velo.learned_optimizer import Theta

RETRIES = 10
"""Times that one contribution is asked for again after its process died, before the run gives up."""


class RayWorker:
    """Holds compiled programs and nothing else: its results depend on the arguments only, so Ray may ask again."""

    def __init__(self, settings: MetaTraining):
        self._settings = settings

    def compute(self, theta: Theta, step: int, index: int, state: Any) -> tuple[Contribution, Any]:
        return worker.compute(self._settings, theta, step, index, state)

    def process_id(self) -> int:
        return os.getpid()


class RayExecutor(Executor):
    """Worker w runs on actor w modulo the number of actors, where its architecture is compiled.

    Estimator states stay in the object store and are handed on by reference. They belong to the driver, so they
    survive the process that computed them.
    """

    def __init__(self, settings: MetaTraining):
        self._settings = settings
        execution = settings.execution
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        with warnings.catch_warnings():
            # JAX warns of any fork; Ray's are followed by an exec at once, which is safe.
            warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
            ray.init(
                address=execution.address or "local",
                num_cpus=None if execution.address else execution.num_processes,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": environment.worker_environment()},
            )
        actor = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=RETRIES)(RayWorker)
        self._actors = [actor.remote(settings) for _ in range(execution.num_processes)]
        self._states: list[Any] = [()] * settings.num_workers

    def compute(self, theta: Theta, step: int) -> list[Contribution]:
        theta_ref = ray.put(theta)
        pending = {}
        for index, state in enumerate(self._states):
            compute = self._actors[index % len(self._actors)].compute.options(num_returns=2)
            contribution, self._states[index] = compute.remote(theta_ref, step, index, state)
            pending[contribution] = index
        contributions = []
        while pending:
            ready, _ = ray.wait(list(pending), num_returns=1)
            for ref in ready:
                index = pending.pop(ref)
                try:
                    contributions.append(ray.get(ref))
                except RayError as error:
                    raise RuntimeError(f"worker {index} failed at outer step {step}: {error}") from error
        return contributions

    def process_ids(self) -> list[int]:
        """Process numbers of the actors on their machines, for an operator who wants to look at one."""
        return ray.get([actor.process_id.remote() for actor in self._actors])

    def states(self) -> list[Any]:
        return [ray.get(state) if isinstance(state, ray.ObjectRef) else state for state in self._states]

    def restore(self, states: list[Any]) -> None:
        self._states = list(states)

    def close(self) -> None:
        ray.shutdown()
