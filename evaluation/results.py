"""The curves of an evaluation, and the rows of its table."""

import dataclasses

import numpy as np

from evaluation import scores
from evaluation.curve import Curve
from evaluation.scores import Interval


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """One optimizer on one task: every setting on the tuning seeds, the chosen one on the reporting seeds."""

    task: str
    optimizer: str
    is_learned: bool
    tuning: str
    """How hyperparameters were chosen, in words; empty where there are none."""
    trials: tuple[tuple[Curve, ...], ...]
    """[settings][tuning seeds], in the order in which they were tried."""
    chosen: int
    """Index of the setting that is reported."""
    reported: tuple[Curve, ...]
    """[reporting seeds], in the order of the seeds."""
    stretched: tuple[tuple[Curve, ...], ...] = ()
    """[best settings][reporting seeds], of the reference: several times longer runs."""

    @property
    def is_tuned(self) -> bool:
        return len(self.trials) > 1

    @property
    def hyperparameters(self) -> dict[str, float]:
        return dict(self.reported[0].hyperparameters)

    @property
    def at_edge(self) -> bool:
        """Whether the chosen setting is the first or last of the grid, so that a better one may lie outside."""
        return self.is_tuned and self.chosen in (0, len(self.trials) - 1)

    @property
    def train_loss(self) -> np.ndarray:
        """[seeds, steps], reporting seeds."""
        return np.stack([curve.train_loss for curve in self.reported])

    @property
    def tuning_loss(self) -> np.ndarray:
        """[settings, seeds, steps], tuning seeds."""
        return np.stack([[curve.train_loss for curve in trial] for trial in self.trials])

    @property
    def curves(self) -> list[Curve]:
        return [*(curve for trial in self.trials for curve in trial), *self.reported]


@dataclasses.dataclass(frozen=True)
class Row:
    """One optimizer on one task, in numbers; the reference is tuned Adam."""

    task: str
    optimizer: str
    is_learned: bool
    hyperparameters: tuple[tuple[str, float], ...]
    num_trials: int
    """Settings tried to choose the hyperparameters; 0 where there is nothing to tune."""
    at_edge: bool
    train_loss: float
    train_interval: Interval
    valid_loss: float
    ratio: float
    """Final training loss / the reference's, see `scores.loss_ratio`."""
    ratio_interval: Interval
    speed_up: float
    """See `scores.speed_up`."""
    speed_up_interval: Interval
    envelope_speed_up: float
    """See `scores.envelope_speed_up`, on the tuning seeds, where every rate of the reference was run."""
    num_diverged: int
    """Reported runs that diverged."""
    num_diverged_trials: int
    """Tuning runs that diverged."""
    seconds: float
    """Wall-clock of one reported run, without compilation."""


@dataclasses.dataclass(frozen=True, eq=False)
class Results:
    """Everything that the report shows, in the order in which it shows it."""

    tasks: tuple[str, ...]
    optimizers: tuple[str, ...]
    reference: str
    entries: tuple[Entry, ...]

    def entry(self, task: str, optimizer: str) -> Entry:
        return next(entry for entry in self.entries if (entry.task, entry.optimizer) == (task, optimizer))

    @property
    def learned(self) -> list[str]:
        names = {entry.optimizer for entry in self.entries if entry.is_learned}
        return [name for name in self.optimizers if name in names]

    def rows(self) -> list[Row]:
        return [
            _row(self.entry(task, optimizer), self.entry(task, self.reference))
            for task in self.tasks
            for optimizer in self.optimizers
        ]


def _row(entry: Entry, reference: Entry) -> Row:
    losses, reference_losses = entry.train_loss, reference.train_loss
    final, reference_final = scores.final_loss(losses), scores.final_loss(reference_losses)
    valid = np.array([curve.valid_loss[-1] for curve in entry.reported], np.float64)
    is_reference = entry is reference
    nothing = Interval(np.nan, np.nan)
    return Row(
        task=entry.task,
        optimizer=entry.optimizer,
        is_learned=entry.is_learned,
        hyperparameters=tuple(sorted(entry.hyperparameters.items())),
        num_trials=len(entry.trials) if entry.is_tuned else 0,
        at_edge=entry.at_edge,
        train_loss=float(final.mean()),
        train_interval=scores.bootstrap_interval(lambda final: float(final.mean()), final),
        valid_loss=float(np.where(np.isfinite(valid), valid, np.inf).mean()),
        ratio=scores.loss_ratio(final, reference_final),
        ratio_interval=nothing
        if is_reference
        else scores.bootstrap_interval(scores.loss_ratio, final, reference_final),
        speed_up=scores.speed_up(losses, reference_losses),
        speed_up_interval=nothing
        if is_reference
        else scores.bootstrap_interval(scores.speed_up, losses, reference_losses),
        envelope_speed_up=scores.envelope_speed_up(entry.tuning_loss[entry.chosen], reference.tuning_loss),
        num_diverged=int(scores.diverged(losses).sum()),
        num_diverged_trials=int(scores.diverged(entry.tuning_loss).sum()) if entry.is_tuned else 0,
        seconds=float(np.mean([curve.cost.seconds for curve in entry.reported])),
    )
