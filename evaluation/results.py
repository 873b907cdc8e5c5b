"""The curves of an evaluation."""

import dataclasses

import numpy as np

from evaluation.curves import Curve


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
    def rates(self) -> np.ndarray | None:
        """[settings] learning rates that were tried, None for an optimizer without one."""
        rates = [dict(trial[0].hyperparameters).get("learning_rate") for trial in self.trials]
        return None if None in rates else np.array(rates, np.float64)

    @property
    def at_edge(self) -> bool:
        """Whether the chosen rate is the least or the greatest that was tried: a better one may lie outside."""
        rates = self.rates
        return self.is_tuned and rates is not None and rates[self.chosen] in (rates.min(), rates.max())

    @property
    def train_loss(self) -> np.ndarray:
        """[seeds, steps], reporting seeds."""
        return np.stack([curve.train_loss for curve in self.reported])

    @property
    def tuning_loss(self) -> np.ndarray:
        """[settings, seeds, steps], tuning seeds."""
        return np.stack([[curve.train_loss for curve in trial] for trial in self.trials])

    @property
    def stretched_loss(self) -> list[np.ndarray]:
        """[best settings] of [seeds, more steps]: the longer runs of the reference, reporting seeds."""
        return [np.stack([curve.train_loss for curve in setting]) for setting in self.stretched]

    @property
    def valid_loss(self) -> np.ndarray:
        """[seeds] after the last step, reporting seeds."""
        return np.array([curve.valid_loss[-1] for curve in self.reported], np.float64)

    @property
    def seconds_per_step(self) -> float:
        """Wall-clock of a reported run without compilation."""
        return sum(curve.cost.seconds for curve in self.reported) / sum(curve.num_steps for curve in self.reported)

    @property
    def curves(self) -> list[Curve]:
        return [curve for runs in (*self.trials, self.reported, *self.stretched) for curve in runs]


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
