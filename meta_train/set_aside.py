"""Tasks that failed: reported once, and not tried again."""

from collections.abc import Callable
from typing import Any

from meta_train.learner import Contribution, Failure, is_finite
from tasks.family import TaskFamily

MAX_NONFINITE = 3
"""Contributions in a row without a finite gradient before a task is set aside."""

Report = Callable[..., None]
"""Called as report(kind, **facts): an event for the run's log."""


class NothingWorksError(ValueError):
    """Every task of a run failed, or no estimate is finite; the message says why."""


class SetAside:
    """Failed families, by their description. It is part of a checkpoint, so a resumed run doesn't try them again."""

    def __init__(self, report: Report):
        self._report = report
        self._reasons: dict[str, str] = {}
        self._nonfinite: dict[str, int] = {}

    def __contains__(self, family: TaskFamily) -> bool:
        return bool(self._reasons) and repr(family) in self._reasons

    @property
    def reasons(self) -> dict[str, str]:
        """Why each task is set aside, by the task's description."""
        return dict(self._reasons)

    def add(self, family: TaskFamily, reason: str) -> None:
        """Sets a task aside and reports it."""
        self._reasons[repr(family)] = reason
        self._report("set_aside", family=repr(family), reason=reason)

    def judge(self, family: TaskFamily, result: Contribution | Failure) -> None:
        """Sets a task aside if its result is a failure, or not finite for the `MAX_NONFINITE`th time in a row."""
        if isinstance(result, Failure):
            self.add(family, result.message)
        elif is_finite(result):
            self._nonfinite.pop(repr(family), None)
        else:
            count = self._nonfinite.get(repr(family), 0) + 1
            self._nonfinite[repr(family)] = count
            if count == MAX_NONFINITE:
                self.add(family, f"{count} contributions in a row were not finite")

    def to_json(self) -> dict[str, Any]:
        """The contents as JSON values, for a checkpoint."""
        return {"reasons": self._reasons, "nonfinite": self._nonfinite}

    def restore(self, stored: dict[str, Any]) -> None:
        """Restores the contents from a checkpoint."""
        self._reasons = dict(stored.get("reasons", {}))
        self._nonfinite = dict(stored.get("nonfinite", {}))
