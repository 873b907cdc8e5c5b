"""The compiled programs of one process: two for each architecture that its workers train on."""

import collections
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from meta_train.estimators.base import GradientEstimator
from meta_train.problem import Problem

MAX_PROBLEMS = 64
"""Default number of problems whose programs are kept; each takes hundreds of the process's memory maps."""


class Program(NamedTuple):
    """An estimator's functions for one problem, compiled at their first call."""

    init: Callable[..., Any]
    """(theta, data, key) -> state."""
    estimate: Callable[..., Any]
    """(theta, state, data, key) -> (estimate, state)."""


class Programs:
    """A least-recently-used cache of the programs of problems.

    The programs belong to this object and live as long as it does. Dropping one recompiles nothing else in the process.
    """

    def __init__(self, estimator: GradientEstimator, max_problems: int = MAX_PROBLEMS):
        self._estimator = estimator
        self._max_problems = max_problems
        self._programs: collections.OrderedDict[Problem, Program] = collections.OrderedDict()

    def __len__(self) -> int:
        return len(self._programs)

    def of(self, problem: Problem) -> Program:
        """The programs of a problem, made if they aren't kept."""
        if problem not in self._programs:
            while len(self._programs) >= self._max_problems:
                self._programs.popitem(last=False)
            self._programs[problem] = Program(
                jax.jit(functools.partial(_init, self._estimator, problem)),
                jax.jit(functools.partial(_estimate, self._estimator, problem)),
            )
        self._programs.move_to_end(problem)
        return self._programs[problem]


def _init(estimator: GradientEstimator, problem: Problem, theta, data, key):
    return estimator.init(problem, theta, data, key)


def _estimate(estimator: GradientEstimator, problem: Problem, theta, state, data, key):
    estimate, state = estimator.estimate(problem, theta, state, data, key)
    # A gradient that can be rebuilt is not returned, so that the compiler drops its computation.
    return estimate._replace(grad=None) if estimator.seeded else estimate._replace(coefficients=None), state
