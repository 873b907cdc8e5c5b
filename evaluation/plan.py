"""What an evaluation runs: every optimizer on every task, in the order of the report."""

import dataclasses
from collections.abc import Mapping

from evaluation import specification, suites
from evaluation.baselines import names as baseline_names
from evaluation.contender import Contender
from evaluation.settings import Evaluation
from tasks.fixed import FixedTask
from velo.learned_optimizer import LearnedOptimizer, Theta

Optimizers = Mapping[str, tuple[LearnedOptimizer, Theta]]
"""name -> (optimizer, weights), beside those that the settings name."""


def tasks(settings: Evaluation) -> list[FixedTask]:
    """With their numbers of steps in this evaluation."""
    return [
        dataclasses.replace(task, num_steps=settings.scale_steps(task.num_steps))
        for task in suites.resolve(settings.suite)
    ]


def contenders(settings: Evaluation, optimizers: Optimizers) -> list[Contender]:
    """Those that are given first.

    Raises:
        ValueError: in one line, on names that clash.
    """
    known = specification.contenders(settings.optimizers, num_rates=settings.num_rates)
    taken = {contender.name for contender in known} | set(baseline_names())
    for name in optimizers:
        if name in taken:
            raise ValueError(f"optimizer {name!r} has the name of another: give it its own")
        if not name:
            raise ValueError("an optimizer needs a name that isn't empty")
    return [*(Contender(name, optimizer, theta) for name, (optimizer, theta) in optimizers.items()), *known]


def pairs(settings: Evaluation, optimizers: Optimizers) -> list[tuple[FixedTask, Contender]]:
    """Task by task."""
    compared = contenders(settings, optimizers)
    return [(task, contender) for task in tasks(settings) for contender in compared]
