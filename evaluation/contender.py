"""One name for baselines and learned optimizers: what an evaluation compares."""

import dataclasses

import optax

from evaluation.baselines import Baseline, Hyperparameters
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

    @property
    def is_learned(self) -> bool:
        return isinstance(self.rule, LearnedOptimizer)


def bind(rule: Rule, theta: Theta, hyperparameters: Hyperparameters, num_steps: int) -> optax.GradientTransformation:
    """The optimizer for one run; `theta` and `hyperparameters` may be traced."""
    if isinstance(rule, LearnedOptimizer):
        return rule.bind(theta, num_steps)
    return rule.bind(hyperparameters, num_steps)
