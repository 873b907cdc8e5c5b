"""What an evaluation compares, as values: contenders, tasks, and the procedure of the comparison.

    from evaluation import Contender, Evaluation, baselines, run
    from tasks.fixed import DEMO

    adam = Contender("adam", baselines.get("adam"))
    run(Evaluation(contenders=(mine, adam), tasks=DEMO, num_seeds=2), "runs/mine")

`configs.evaluation_names` turns the names that users type into such values. This package takes and passes only values.
They can be pickled; classes and functions in them are pickled by reference.
"""

import dataclasses
from typing import Any

from evaluation import baselines
from evaluation.baselines import Baseline
from evaluation.tuning import LogGrid, Tuner
from tasks.fixed import FixedTask
from velo.learned_optimizer import LearnedOptimizer, Theta

Optimizer = Baseline | LearnedOptimizer
"""The static half of an optimizer, hashed by value; theta and hyperparameters are the dynamic half."""
MAX_SEEDS = 10_000
"""Reporting seeds are below this number and tuning seeds start at it, so that the two never overlap."""


@dataclasses.dataclass(frozen=True, eq=False)
class Contender:
    """An optimizer and its name in the report.

    Raises:
        ValueError: name is empty.
    """

    name: str
    optimizer: Optimizer
    theta: Theta = None
    """Meta-parameters of a learned optimizer; None for a baseline."""
    tuner: Tuner = LogGrid()
    """How a baseline's hyperparameters are chosen; unused for a learned optimizer."""

    def __post_init__(self):
        if not self.name:
            raise ValueError("Contender: name must not be empty")

    def __reduce__(self):
        """Pickles baselines of the catalogue by name: their factories may be closures, which pickle refuses."""
        return Contender, (self.name, _picklable(self.optimizer), self.theta, self.tuner)

    @property
    def is_learned(self) -> bool:
        """Whether the optimizer is learned."""
        return isinstance(self.optimizer, LearnedOptimizer)

    @property
    def label(self) -> str:
        """The optimizer's name in stored curves; it doesn't depend on how a baseline is tuned."""
        return self.optimizer.name if isinstance(self.optimizer, Baseline) else self.name


class _CatalogueBaseline:
    """Pickles as the call `baselines.get(name)`."""

    def __init__(self, name: str):
        self.name = name

    def __reduce__(self):
        return baselines.get, (self.name,)


def _picklable(optimizer: Optimizer) -> Any:
    """`optimizer`, or for a baseline of the catalogue a stand-in that unpickles to an equal one."""
    if isinstance(optimizer, Baseline) and optimizer.name in baselines.names():
        return _CatalogueBaseline(optimizer.name) if baselines.get(optimizer.name) == optimizer else optimizer
    return optimizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Procedure:
    """How contenders are compared on a task: how often and how long they run, and what is measured.

    Raises:
        ValueError: in one line, if a number is out of its range.
    """

    num_seeds: int = 3
    """Number of reported runs, each with its own task draw, initial parameters and data order."""
    num_tuning_seeds: int = 1
    """Number of runs per setting, separate from the reported ones, on which a baseline's hyperparameters are chosen."""
    stretch: int = 4
    """The reference also runs this many times longer, so that speed-ups up to this number can be measured."""
    num_stretched: int = 1
    """Number of the reference's settings that run longer: the best on the tuning seeds."""
    num_checkpoints: int = 10
    """Evenly spaced steps of a run at which the validation loss is measured, the last one included; at most so many."""
    num_valid_batches: int = 16
    """Batches of the validation split that each validation loss averages."""
    num_lanes: int = 0
    """Runs trained together in one program; affects only the speed. 0: one on a CPU, sixteen on an accelerator."""
    num_workers: int = 0
    """Ray workers that share the tasks and contenders; they write into the same folder. 0: no Ray."""

    def __post_init__(self):
        for name, low, high in (
            ("num_seeds", 1, MAX_SEEDS),
            ("num_tuning_seeds", 1, MAX_SEEDS),
            ("stretch", 1, 100),
            ("num_stretched", 1, 1000),
            ("num_checkpoints", 1, 1000),
            ("num_valid_batches", 1, 10_000),
            ("num_lanes", 0, 10_000),
            ("num_workers", 0, 10_000),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"Evaluation: {name} must be in [{low}, {high}], got {getattr(self, name)}")

    @property
    def seeds(self) -> list[int]:
        """The reporting seeds."""
        return list(range(self.num_seeds))

    @property
    def tuning_seeds(self) -> list[int]:
        """The seeds on which hyperparameters are chosen; none of them is a reporting seed."""
        return list(range(MAX_SEEDS, MAX_SEEDS + self.num_tuning_seeds))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation(Procedure):
    """One comparison: which contenders, on which tasks, by which procedure.

    Raises:
        ValueError: in one line, if there are no contenders or no tasks, if two of them have the same name, if no
            contender is the reference, or if a number is out of its range.
    """

    contenders: tuple[Contender, ...]
    """Contenders, in the order of the report."""
    tasks: tuple[FixedTask, ...]
    """Tasks with their numbers of steps."""
    reference: str = "adam"
    """Name of the contender that every other is compared with."""
    suite: str = ""
    """What the report calls the tasks; their names if empty."""

    def __post_init__(self):
        super().__post_init__()
        for kind, found in (("contenders", self.contenders), ("tasks", self.tasks)):
            names = [one.name for one in found]
            if not names:
                raise ValueError(f"Evaluation: {kind} must not be empty")
            for name in names:
                if names.count(name) > 1:
                    raise ValueError(f"Evaluation: {kind} must differ in their names, got two of {name!r}")
        names = [contender.name for contender in self.contenders]
        if self.reference not in names:
            raise ValueError(
                f"Evaluation: reference must be the name of a contender, one of {', '.join(names)}, "
                f"got {self.reference!r}"
            )

    @property
    def title(self) -> str:
        """What the report calls the tasks."""
        return self.suite or ", ".join(task.name for task in self.tasks)

    @property
    def procedure(self) -> Procedure:
        """The procedure alone, which with the reference is all that a worker needs besides a contender and a task."""
        return Procedure(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Procedure)})

    @property
    def pairs(self) -> list[tuple[FixedTask, Contender]]:
        """All (task, contender) pairs, task by task."""
        return [(task, contender) for task in self.tasks for contender in self.contenders]
