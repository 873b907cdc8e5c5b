"""One name for baselines and learned optimizers: what an evaluation compares."""

import dataclasses
from collections.abc import Callable
from typing import Any

import optax

from evaluation.baselines import Baseline, Hyperparameters
from evaluation.tuning import LogGrid, Tuner
from velo.learned_optimizer import LearnedOptimizer, Theta

Rule = Baseline | LearnedOptimizer
"""The static half of an optimizer, hashed by value."""


@dataclasses.dataclass(frozen=True, eq=False)
class Contender:
    """An optimizer under the name that the report gives it."""

    name: str
    rule: Rule
    theta: Theta = None
    """Weights of a learned optimizer; None for a baseline."""
    tuner: Tuner = LogGrid()
    """How a baseline's hyperparameters are chosen."""

    @property
    def is_learned(self) -> bool:
        return isinstance(self.rule, LearnedOptimizer)

    @property
    def label(self) -> str:
        """What stored curves call it: the same however a baseline is tuned."""
        return self.rule.name if isinstance(self.rule, Baseline) else self.name


def bind(rule: Rule, theta: Theta, hyperparameters: Hyperparameters, num_steps: int) -> optax.GradientTransformation:
    """The optimizer for one run; `theta` and `hyperparameters` may be traced."""
    if isinstance(rule, LearnedOptimizer):
        return rule.bind(theta, num_steps)
    return rule.bind(hyperparameters, num_steps)


def evaluation_params(rule: Rule) -> Callable[[Any, Any], Any] | None:
    """(optimizer state, parameters) -> the point that the optimizer would return, where it isn't the parameters."""
    return rule.evaluation_params if isinstance(rule, Baseline) else None
