"""The interface of an executor, which has the workers' contributions computed, and its reference implementation.

    executor = LocalExecutor(settings)
    try:
        for step in range(settings.num_steps):
            contributions, account = executor.compute(state.theta, step)
            complete = functools.partial(worker.complete, settings, state.theta)
            state, metrics = learner.update(outer_tx, state, contributions, 0.95, complete)
        snapshot = executor.snapshot()  # for a checkpoint; any executor of the same settings restores it
    finally:
        executor.close()

An executor of your own calls `worker.attempt` in other processes; `meta_train.ray_executor` is an example.
"""

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any

from meta_train import validation, worker
from meta_train.learner import Contribution, Failure
from meta_train.programs import Programs
from meta_train.set_aside import Report, SetAside
from meta_train.settings import MetaTraining
from velo.learned_optimizer import Theta


@dataclasses.dataclass
class Account:
    """Number of contributions of an outer step by outcome.

    Summed over a run, dispatched = used + stale + lost + poisoned + replayed + (in_flight of the last outer step).
    """

    dispatched: int = 0
    used: int = 0
    stale: int = 0  # their theta was older than allowed
    lost: int = 0  # their process died or hung; in a synchronous run they are computed again
    poisoned: int = 0  # their task failed and is set aside
    replayed: int = 0  # computed again for their state alone, which was lost with a node
    in_flight: int = 0  # still under way at the end of the outer step, or waiting for the next
    skipped: int = 0  # never dispatched: their task was set aside before


@dataclasses.dataclass
class WorkerStates:
    """The progress of every logical worker, in two lists with an entry for each, and the tasks set aside."""

    steps: list[int]
    """Each worker's next step. In an asynchronous run workers count their own steps."""
    states: list[Any]
    """The estimator's states, trees of NumPy arrays; () before a worker's first step and if its task is set aside."""
    set_aside: dict[str, Any]
    """Tasks that failed (`SetAside.to_json`)."""


class Executor(abc.ABC):
    """Computes contributions with `worker.attempt`, and validation losses with `validation.attempt`, wherever it runs.

    In a synchronous run (`max_staleness` 0) all executors give the same contributions to the bit.
    """

    @abc.abstractmethod
    def compute(self, theta: Theta, step: int) -> tuple[list[Contribution], Account]:
        """Waits for the contributions of an outer step.

        Args:
            theta: meta-parameters after `step` outer steps.
            step: outer steps done so far.

        Returns:
            (contributions, account). Contributions come in any order: in a synchronous run one of every worker whose
            task is not set aside, in an asynchronous one the first `num_workers` to arrive.

        Raises:
            RuntimeError: nothing can be computed any more, for example because no process starts.
        """

    @abc.abstractmethod
    def validate(self, theta: Theta, names: Sequence[str]) -> dict[str, float | str]:
        """Validates a theta.

        Args:
            theta: meta-parameters.
            names: of tasks of `settings.validation.suite`.

        Returns:
            For each name the normalised final loss (`validation.validate`), or a message if the task failed.
        """

    @abc.abstractmethod
    def snapshot(self) -> WorkerStates:
        """The workers' progress, for a checkpoint. It doesn't depend on the kind of executor."""

    @abc.abstractmethod
    def restore(self, snapshot: WorkerStates) -> None:
        """Continues from a snapshot.

        Args:
            snapshot: of any executor with the same settings.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Ends the processes that the executor started. May be called twice."""


class LocalExecutor(Executor):
    """The reference: computes all logical workers in this process, one after the other."""

    def __init__(self, settings: MetaTraining, report: Report = lambda kind, **facts: None):
        self._settings = settings
        self._set_aside = SetAside(report)
        self._programs = Programs(settings.estimator)
        self._steps = [0] * settings.num_workers
        self._states: list[Any] = [()] * settings.num_workers

    def compute(self, theta, step):
        """One worker after the other."""
        contributions, account = [], Account()
        for index in self._order():
            family = worker.family_of(self._settings, index, step)
            self._steps[index] = step + 1
            if family in self._set_aside:
                account.skipped += 1
                continue
            account.dispatched += 1
            result, self._states[index] = worker.attempt(
                self._settings, self._programs, theta, step, step, index, self._states[index]
            )
            self._set_aside.judge(family, result)
            if isinstance(result, Failure):
                account.poisoned += 1
            else:
                contributions.append(result)
        account.used = len(contributions)
        return contributions, account

    def _order(self) -> Sequence[int]:
        return range(self._settings.num_workers)

    def validate(self, theta, names):
        """One task after the other."""
        return {name: validation.attempt(self._settings, theta, name) for name in names}

    def snapshot(self):
        """Copies of the lists; the states are NumPy arrays already."""
        return WorkerStates(list(self._steps), list(self._states), self._set_aside.to_json())

    def restore(self, snapshot):
        """Takes over the lists."""
        self._steps, self._states = list(snapshot.steps), list(snapshot.states)
        self._set_aside.restore(snapshot.set_aside)

    def close(self):
        """Nothing to end."""
