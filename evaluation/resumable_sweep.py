"""A resumable sweep: it reads the curves that are stored, and trains and stores the others.

A curve's key is a digest of everything that determines the curve (`evaluation.curve_key`). A restarted sweep asks for
the same keys, finds the finished curves in the store, and trains those that are missing. No other state is kept.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from evaluation import curve_key, training, tuning
from evaluation.baselines import Baseline
from evaluation.curve_store import CurveStore
from evaluation.curves import Curve, Entry
from evaluation.scores import final_loss
from evaluation.settings import Contender, Procedure
from evaluation.training import Lane, Trainer
from tasks.fixed import FixedTask

OnSteps = Callable[[int], None]
"""Called with the number of training steps that were just done, or found in the store."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Gets the curves that a procedure asks for: reads those in the store, trains and stores the rest."""

    procedure: Procedure
    reference: str
    """Name of the contender that also runs for longer."""
    store: CurveStore
    trainer: Trainer = dataclasses.field(default_factory=Trainer)

    def num_steps(self, task: FixedTask, contender: Contender) -> int:
        """Upper bound on the training steps of all runs of a contender on a task."""
        procedure, optimizer = self.procedure, contender.optimizer
        num_trials = contender.tuner.max_trials(optimizer) if isinstance(optimizer, Baseline) else 1
        num_runs = num_trials * procedure.num_tuning_seeds + procedure.num_seeds
        if self._is_stretched(contender):
            num_runs += min(procedure.num_stretched, num_trials) * procedure.num_seeds * procedure.stretch
        return task.num_steps * num_runs

    def entry(self, task: FixedTask, contender: Contender, on_steps: OnSteps = lambda num_steps: None) -> Entry:
        """All curves of a contender on a task.

        It tries settings on the tuning seeds, then runs the best setting on the reporting seeds. The best settings of
        the reference also run for `stretch` times as long. An optimizer without anything to tune has a single setting,
        which runs on the tuning seeds too, so that it can be compared with every trial of a tuned optimizer.
        """
        procedure, optimizer = self.procedure, contender.optimizer
        settings, trials = [], []
        losses: list[float] = []
        while batch := self._propose(contender, list(zip(settings, losses, strict=True))):
            new = self.runs(task, contender, batch, procedure.tuning_seeds, on_steps)
            settings += batch
            trials += new
            losses += [_mean_final_loss(curves) for curves in new]
        chosen = tuning.choose(np.array(losses)[:, None])
        (reported,) = self.runs(task, contender, [settings[chosen]], procedure.seeds, on_steps)
        stretched = ()
        if self._is_stretched(contender):
            order = sorted(range(len(losses)), key=lambda index: losses[index])[: procedure.num_stretched]
            best = [settings[index] for index in order]
            stretched = self.runs(task, contender, best, procedure.seeds, on_steps, procedure.stretch)
        return Entry(
            task=task.name,
            optimizer=contender.name,
            is_learned=contender.is_learned,
            tuning=contender.tuner.words if isinstance(optimizer, Baseline) and optimizer.space else "",
            trials=tuple(trials),
            chosen=chosen,
            reported=reported,
            stretched=tuple(stretched),
        )

    def _is_stretched(self, contender: Contender) -> bool:
        """Whether this contender also runs for longer."""
        return self.procedure.stretch > 1 and contender.name == self.reference

    def _propose(self, contender: Contender, tried: list[tuning.Tried]) -> list[tuning.Setting]:
        """The settings to try next; a learned optimizer has one, without hyperparameters."""
        if isinstance(contender.optimizer, Baseline):
            return contender.tuner.propose(contender.optimizer, tried)
        return [] if tried else [()]

    def runs(
        self,
        task: FixedTask,
        contender: Contender,
        settings: Sequence[tuning.Setting],
        seeds: Sequence[int],
        on_steps: OnSteps,
        stretch: int = 1,
    ) -> list[tuple[Curve, ...]]:
        """The curves of all settings under all seeds: [settings][seeds]."""
        lanes = [Lane(setting, seed) for setting in settings for seed in seeds]
        curves = self.curves(task, contender, lanes, on_steps, stretch)
        return [tuple(curves[begin : begin + len(seeds)]) for begin in range(0, len(curves), len(seeds))]

    def curves(
        self, task: FixedTask, contender: Contender, lanes: Sequence[Lane], on_steps: OnSteps, stretch: int = 1
    ) -> list[Curve]:
        """A curve for every lane, in the order of the lanes: read from the store, or trained if it isn't there.

        New curves are stored before the next group of lanes starts. A run that is `stretch` times longer has `stretch`
        times as many checkpoints. They are as far apart as in the shorter run, so both share compiled segments.
        """
        procedure = self.procedure
        task = dataclasses.replace(task, num_steps=task.num_steps * stretch)
        num_lanes = procedure.num_lanes or training.automatic_num_lanes()
        checkpoints = {
            "num_checkpoints": procedure.num_checkpoints * stretch,
            "num_valid_batches": procedure.num_valid_batches,
        }
        common = curve_key.common(task, contender, **checkpoints)
        keys = {lane: curve_key.key(common, lane) for lane in lanes}
        found: dict[Lane, Curve] = {}
        for lane in lanes:
            curve = self.store.get(keys[lane])
            if curve is not None:
                found[lane] = curve
                on_steps(task.num_steps)
        missing = [lane for lane in lanes if lane not in found]
        for begin in range(0, len(missing), num_lanes):
            group = missing[begin : begin + num_lanes]
            new = self.trainer.run(task, contender, group, num_lanes=num_lanes, on_steps=on_steps, **checkpoints)
            for lane, curve in zip(group, new, strict=True):
                self.store.put(keys[lane], curve)
                found[lane] = dataclasses.replace(curve, key=keys[lane])
        return [found[lane] for lane in lanes]


def _mean_final_loss(curves: Sequence[Curve]) -> float:
    """The number that ranks settings: the mean final loss over the tuning seeds."""
    return float(np.mean([final_loss(curve.train_loss) for curve in curves]))
