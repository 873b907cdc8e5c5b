"""How the logical workers' contributions are computed: the interface, and the reference in this process."""

import abc
from typing import Any

from meta_train import worker
from meta_train.learner import Contribution
from meta_train.settings import MetaTraining
from velo.learned_optimizer import Theta


class Executor(abc.ABC):
    """A transport, not a second loop: every implementation calls `worker.compute` and nothing else."""

    @abc.abstractmethod
    def compute(self, theta: Theta, step: int) -> list[Contribution]:
        """One contribution of every logical worker for outer step `step`, in any order."""

    @abc.abstractmethod
    def states(self) -> list[Any]:
        """The estimator states after the last step, by worker, as NumPy arrays: what a checkpoint needs."""

    @abc.abstractmethod
    def restore(self, states: list[Any]) -> None:
        """Goes on from states that `states` returned, of any executor."""

    @abc.abstractmethod
    def close(self) -> None:
        """Gives processes back; idempotent."""


class LocalExecutor(Executor):
    """All logical workers in this process, one after the other."""

    def __init__(self, settings: MetaTraining):
        self._settings = settings
        self._states: list[Any] = [()] * settings.num_workers

    def compute(self, theta: Theta, step: int) -> list[Contribution]:
        contributions = []
        for index, state in enumerate(self._states):
            contribution, self._states[index] = worker.compute(self._settings, theta, step, index, state)
            contributions.append(contribution)
        return contributions

    def states(self) -> list[Any]:
        return list(self._states)

    def restore(self, states: list[Any]) -> None:
        self._states = list(states)

    def close(self) -> None:
        pass
