"""The curves of an evaluation: of one run, of one contender on one task, of all contenders on all tasks."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class StepSizes:
    """Relative step sizes of a learned optimizer over a run: RMS of the update / RMS of the parameters, per tensor."""

    tensors: tuple[str, ...]
    """Names of the tensors."""
    steps: np.ndarray
    """[points] int, the number of steps taken before each point."""
    values: np.ndarray
    """[points, tensors] float32."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """The time and memory of a run."""

    seconds: float
    """Wall-clock time without compilation, divided by the number of lanes that ran together."""
    cpu_seconds: float
    """The same in processor time, summed over all threads; with an accelerator, the host's processor time."""
    compile_seconds: float
    """Wall-clock time of compiling the programs of the run, not divided among the runs that shared them."""
    state_bytes: int
    """Size of the optimizer's state."""
    memory_bytes: int | None
    """Arguments, results and temporaries of the training program by XLA's analysis, divided by the number of lanes;
    None if the backend reports none."""
    num_lanes: int
    """Number of lanes of the program."""


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """One run of one optimizer on one task with one seed; diverged runs are kept as they are."""

    task: str
    optimizer: str
    hyperparameters: tuple[tuple[str, float], ...]
    """Sorted by name; empty if nothing is tuned."""
    seed: int
    train_loss: np.ndarray
    """[num_steps] float32: the mean loss on the batch of each step, before the step, at the parameters that the
    optimizer would return (an average of its iterates, for some)."""
    valid_steps: np.ndarray
    """[checkpoints] int, the number of steps taken before each; the last is num_steps."""
    valid_loss: np.ndarray
    """[checkpoints] float32, over the same batches of the validation split at every checkpoint."""
    cost: Cost
    step_sizes: StepSizes | None = None
    """Recorded for learned optimizers only."""
    key: str = ""
    """The key under which the curve is stored (`evaluation.curve_key`)."""

    def __post_init__(self):
        if tuple(sorted(self.hyperparameters)) != self.hyperparameters:
            raise ValueError(f"Curve: hyperparameters must be sorted by name, got {self.hyperparameters}")
        if self.train_loss.ndim != 1 or not len(self.train_loss):
            raise ValueError(f"Curve: train_loss must have shape [num_steps], got {self.train_loss.shape}")
        if self.valid_loss.shape != self.valid_steps.shape or self.valid_loss.ndim != 1:
            raise ValueError(
                f"Curve: one validation loss a checkpoint, got {self.valid_loss.shape} and {self.valid_steps.shape}"
            )
        if not len(self.valid_steps) or self.valid_steps[-1] != len(self.train_loss):
            raise ValueError("Curve: the last validation loss must be taken after the last step")

    @property
    def num_steps(self) -> int:
        """The length of the run."""
        return len(self.train_loss)


@dataclasses.dataclass(frozen=True)
class Pace:
    """The time of a step of one contender on one task."""

    task: str
    optimizer: str
    """The contender's name."""
    key: str
    """Key of the contender's first reported curve: it identifies the code, theta and hyperparameters measured."""
    seconds_per_step: float
    """The least over the repetitions."""
    core_share: float
    """Processor time over wall-clock time of that repetition: below 1 where other processes took part of the core."""


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """One contender on one task: every setting on the tuning seeds, the chosen setting on the reporting seeds."""

    task: str
    optimizer: str
    """The contender's name."""
    is_learned: bool
    tuning: str
    """How hyperparameters were chosen, in words; empty if there are none."""
    trials: tuple[tuple[Curve, ...], ...]
    """[settings][tuning seeds], in the order in which the settings were tried."""
    chosen: int
    """Index of the setting that is reported."""
    reported: tuple[Curve, ...]
    """[reporting seeds], in the order of the seeds."""
    stretched: tuple[tuple[Curve, ...], ...] = ()
    """[best settings][reporting seeds], runs that are several times longer; empty for all but the reference."""
    pace: Pace | None = None
    """Measured by the clock (`evaluation.clock`); None if only the runs' own times are known."""

    @property
    def is_tuned(self) -> bool:
        """Whether more than one setting was tried."""
        return len(self.trials) > 1

    @property
    def hyperparameters(self) -> dict[str, float]:
        """The chosen setting."""
        return dict(self.reported[0].hyperparameters)

    @property
    def rates(self) -> np.ndarray | None:
        """[settings] learning rates that were tried; None for an optimizer without one."""
        rates = [dict(trial[0].hyperparameters).get("learning_rate") for trial in self.trials]
        return None if None in rates else np.array(rates, np.float64)

    @property
    def at_edge(self) -> bool:
        """Whether the chosen learning rate is the least or the greatest that was tried, so that a better one may lie
        outside.
        """
        rates = self.rates
        return self.is_tuned and rates is not None and rates[self.chosen] in (rates.min(), rates.max())

    @property
    def train_loss(self) -> np.ndarray:
        """[reporting seeds, steps] training losses at the chosen setting."""
        return np.stack([curve.train_loss for curve in self.reported])

    @property
    def tuning_loss(self) -> np.ndarray:
        """[settings, tuning seeds, steps] training losses of all settings that were tried."""
        return np.stack([[curve.train_loss for curve in trial] for trial in self.trials])

    @property
    def stretched_loss(self) -> list[np.ndarray]:
        """The longer runs of the reference: an array of [reporting seeds, steps] for each of its best settings."""
        return [np.stack([curve.train_loss for curve in setting]) for setting in self.stretched]

    @property
    def longest_steps(self) -> int:
        """Number of steps of the longest reported runs."""
        return max(setting[0].num_steps for setting in (self.reported, *self.stretched))

    @property
    def valid_loss(self) -> np.ndarray:
        """[reporting seeds] validation losses after the last step."""
        return np.array([curve.valid_loss[-1] for curve in self.reported], np.float64)

    @property
    def seconds_per_step(self) -> float:
        """Wall-clock time of a step, without compilation: the clock's, or the mean of the reported runs."""
        if self.pace is not None:
            return self.pace.seconds_per_step
        return sum(curve.cost.seconds for curve in self.reported) / sum(curve.num_steps for curve in self.reported)


@dataclasses.dataclass(frozen=True, eq=False)
class Results:
    """The curves of all contenders on all tasks, by name and in the order of the report."""

    tasks: tuple[str, ...]
    optimizers: tuple[str, ...]
    reference: str
    """The optimizer that every other is compared with."""
    entries: tuple[Entry, ...]

    def entry(self, task: str, optimizer: str) -> Entry:
        """The entry of one optimizer on one task."""
        return next(entry for entry in self.entries if (entry.task, entry.optimizer) == (task, optimizer))

    @property
    def paces(self) -> list[Pace]:
        """The clock's measurements on these tasks."""
        return [entry.pace for entry in self.entries if entry.pace is not None and entry.task in self.tasks]

    @property
    def learned(self) -> list[str]:
        """Names of the learned optimizers, in the order of the report."""
        names = {entry.optimizer for entry in self.entries if entry.is_learned}
        return [name for name in self.optimizers if name in names]
