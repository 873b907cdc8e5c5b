"""The interface of tuners."""

import abc
from collections.abc import Mapping, Sequence

from evaluation.baselines import Baseline

Setting = tuple[tuple[str, float], ...]
"""Hyperparameters, sorted by name; those that are left out have their defaults."""
Tried = tuple[Setting, float]
"""A setting and its mean final loss over the tuning seeds, inf where one diverged."""


class Tuner(abc.ABC):
    """Frozen dataclasses. Deterministic in what was tried, so that an interrupted search goes on as it would have."""

    @abc.abstractmethod
    def propose(self, baseline: Baseline, tried: Sequence[Tried]) -> list[Setting]:
        """The settings to try next, together; empty when the budget is spent."""

    @abc.abstractmethod
    def max_trials(self, baseline: Baseline) -> int:
        """Settings that it tries at most."""

    @property
    @abc.abstractmethod
    def words(self) -> str:
        """The budget in words."""


def as_setting(hyperparameters: Mapping[str, float]) -> Setting:
    return tuple(sorted(hyperparameters.items()))
