"""Everything that determines an evaluation, apart from weights that are given beside it."""

import dataclasses

from evaluation import specification, suites

MAX_SEEDS = 10_000
"""Reporting seeds lie below, tuning seeds at and above this number, so that no run is both."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """One comparison: which tasks, which optimizers, how often."""

    suite: str = "demo"
    """A suite of `tasks.fixed`, names of tasks with commas between, or `module:attribute` for tasks of your own."""
    optimizers: tuple[str, ...] = ("adam", "adam_cosine", "prodigy_cosine")
    """What is compared: `NAME`, `NAME@TRIALS`, `NAME:WEIGHTS_FILE`, `module:function` (docs/evaluation.md). Tuned
    `adam`, the reference, joins if it is left out."""
    num_seeds: int = 3
    """Runs that are reported, each with its own task draw, initial parameters and data order."""
    num_tuning_seeds: int = 1
    """Further runs, apart from the reported ones, on which a baseline's hyperparameters are chosen."""
    num_rates: int = 15
    """Log-spaced learning rates that a baseline without a budget of its own may try."""
    stretch: int = 4
    """How many times longer the reference also runs, so that speed-ups up to this number are measured."""
    num_stretched: int = 1
    """Settings of the reference, the best on the tuning seeds, that run longer."""
    steps_scale: float = 1.0
    """Factor on the number of steps of every task."""
    num_checkpoints: int = 10
    """Evenly spaced points of a run at which the validation loss is taken, the last step included."""
    num_valid_batches: int = 16
    """Batches of the validation split behind each validation loss."""
    num_lanes: int = 0
    """Runs trained together in one program: changes the speed alone. 0: one on a CPU, sixteen on an accelerator."""
    num_workers: int = 0
    """Ray workers among which tasks and optimizers are divided; they write into the same folder. 0: no Ray."""

    def __post_init__(self):
        if len(set(self.optimizers)) != len(self.optimizers):
            raise ValueError(f"Evaluation: optimizers must differ from each other, got {', '.join(self.optimizers)}")
        for name, low, high in (
            ("num_seeds", 1, MAX_SEEDS),
            ("num_tuning_seeds", 1, MAX_SEEDS),
            ("num_rates", 2, 1000),
            ("stretch", 1, 100),
            ("num_stretched", 1, 1000),
            ("num_checkpoints", 1, 1000),
            ("num_valid_batches", 1, 10_000),
            ("num_lanes", 0, 10_000),
            ("num_workers", 0, 10_000),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"Evaluation: {name} must be in [{low}, {high}], got {getattr(self, name)}")
        if not 0 < self.steps_scale <= 1000:
            raise ValueError(f"Evaluation: steps_scale must be in (0, 1000], got {self.steps_scale}")
        suites.resolve(self.suite)
        specification.contenders(self.optimizers, num_rates=self.num_rates)

    @property
    def seeds(self) -> list[int]:
        return list(range(self.num_seeds))

    @property
    def tuning_seeds(self) -> list[int]:
        return list(range(MAX_SEEDS, MAX_SEEDS + self.num_tuning_seeds))

    def scale_steps(self, num_steps: int) -> int:
        """A task's number of steps in this evaluation, at least one."""
        return max(1, round(self.steps_scale * num_steps))
