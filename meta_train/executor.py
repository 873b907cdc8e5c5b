"""How the logical workers' contributions are computed: the interface, and the reference in this process."""

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
    """Where the contributions of an outer step went; over a run, dispatched is the sum of the others and in_flight."""

    dispatched: int = 0
    used: int = 0
    stale: int = 0  # their theta was older than allowed
    lost: int = 0  # their process died or hung; in a synchronous run they are computed again
    poisoned: int = 0  # their task failed, and is set aside
    replayed: int = 0  # computed again for their state alone, which was lost with a node
    in_flight: int = 0  # still under way at the end of the outer step, or waiting for the next
    skipped: int = 0  # never dispatched: their task was set aside before


@dataclasses.dataclass
class WorkerStates:
    """Where every logical worker stands, by worker; the states are NumPy arrays."""

    steps: list[int]
    """Each worker's next step; its own count in an asynchronous run."""
    states: list[Any]
    """Of the estimator; () before a worker's first step and where its task is set aside."""
    set_aside: dict[str, Any]


class Executor(abc.ABC):
    """A transport, not a second loop: every implementation calls `worker.attempt` and nothing else."""

    @abc.abstractmethod
    def compute(self, theta: Theta, step: int) -> tuple[list[Contribution], Account]:
        """The contributions for outer step `step`, in any order.

        In a synchronous run one of every logical worker whose task is not set aside.
        """

    @abc.abstractmethod
    def validate(self, theta: Theta, names: Sequence[str]) -> dict[str, float | str]:
        """Validation losses of tasks of `tasks.fixed`, by name; what went wrong where one failed."""

    @abc.abstractmethod
    def snapshot(self) -> WorkerStates:
        """What a checkpoint needs to go on from here, of any executor."""

    @abc.abstractmethod
    def restore(self, snapshot: WorkerStates) -> None:
        """Goes on from a snapshot of any executor."""

    @abc.abstractmethod
    def close(self) -> None:
        """Gives processes back; idempotent."""


class LocalExecutor(Executor):
    """All logical workers in this process, one after the other."""

    def __init__(self, settings: MetaTraining, report: Report = lambda kind, **facts: None):
        self._settings = settings
        self._set_aside = SetAside(report)
        self._programs = Programs(settings.estimator)
        self._steps = [0] * settings.num_workers
        self._states: list[Any] = [()] * settings.num_workers
        self._is_compiled = not settings.execution.compile_threads

    def compute(self, theta, step):
        if not self._is_compiled:
            self._is_compiled = True
            ahead = worker.estimates_ahead(self._settings, theta, step)
            self._programs.compile_ahead(ahead, self._settings.execution.compile_threads)
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
        return {name: validation.attempt(self._settings, theta, name) for name in names}

    def snapshot(self):
        return WorkerStates(list(self._steps), list(self._states), self._set_aside.to_json())

    def restore(self, snapshot):
        self._steps, self._states = list(snapshot.steps), list(snapshot.states)
        self._set_aside.restore(snapshot.set_aside)

    def close(self):
        pass
