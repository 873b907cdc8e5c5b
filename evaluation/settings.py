"""Everything that determines an evaluation, apart from the optimizers."""

import dataclasses
import difflib
from collections.abc import Iterable

from evaluation.baselines import BASELINES
from tasks.fixed import SUITES

REFERENCE = "adam"
"""The tuned baseline that every ratio and speed-up is relative to."""
MAX_SEEDS = 10_000
"""Reporting seeds lie below, tuning seeds at and above this number, so that no run is both."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """One comparison: which tasks, against which baselines, how often."""

    suite: str = "demo"
    """Named suite of `tasks.fixed`."""
    baselines: tuple[str, ...] = ("adam", "adam_cosine", "prodigy_cosine")
    """Names in `evaluation.baselines`; `adam` is the reference and can't be left out."""
    num_seeds: int = 3
    """Runs that are reported, each with its own task draw, initial parameters and data order."""
    num_tuning_seeds: int = 1
    """Further runs, apart from the reported ones, on which a baseline's rate is chosen."""
    num_rates: int = 15
    """Log-spaced learning rates that a tuned baseline may try."""
    steps_scale: float = 1.0
    """Factor on the number of steps of every task."""
    num_checkpoints: int = 10
    """Evenly spaced points of a run at which the validation loss is taken, the last step included."""
    num_valid_batches: int = 16
    """Batches of the validation split behind each validation loss."""
    num_lanes: int = 4
    """Runs trained together in one program: changes the speed alone. More need more memory and suit a GPU."""

    def __post_init__(self):
        check_known("suite", self.suite, SUITES)
        for name in self.baselines:
            check_known("baseline", name, BASELINES)
        if len(set(self.baselines)) != len(self.baselines):
            raise ValueError(f"Evaluation: baselines must differ from each other, got {', '.join(self.baselines)}")
        if REFERENCE not in self.baselines:
            raise ValueError(
                f"Evaluation: baselines must include {REFERENCE!r}, the reference, got {', '.join(self.baselines)}"
            )
        for name, low, high in (
            ("num_seeds", 1, MAX_SEEDS),
            ("num_tuning_seeds", 1, MAX_SEEDS),
            ("num_rates", 2, 1000),
            ("num_checkpoints", 1, 1000),
            ("num_valid_batches", 1, 10_000),
            ("num_lanes", 1, 10_000),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"Evaluation: {name} must be in [{low}, {high}], got {getattr(self, name)}")
        if not 0 < self.steps_scale <= 1000:
            raise ValueError(f"Evaluation: steps_scale must be in (0, 1000], got {self.steps_scale}")

    @property
    def seeds(self) -> list[int]:
        return list(range(self.num_seeds))

    @property
    def tuning_seeds(self) -> list[int]:
        return list(range(MAX_SEEDS, MAX_SEEDS + self.num_tuning_seeds))

    def scale_steps(self, num_steps: int) -> int:
        """A task's number of steps in this evaluation, at least one."""
        return max(1, round(self.steps_scale * num_steps))


def check_known(kind: str, name: str, known: Iterable[str]) -> None:
    """Raises a ValueError that names the nearest valid name unless `name` is in `known`."""
    names = sorted(known)
    if name not in names:
        nearest = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise ValueError(f"unknown {kind} {name!r}; {hint}known: {', '.join(names)}")
