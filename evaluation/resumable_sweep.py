"""Gets the curves of an optimizer on a task: from the store where they are, by running them where they aren't."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from evaluation import curve_key as identity
from evaluation import specification, tuning
from evaluation import training as runner
from evaluation.baselines import Baseline
from evaluation.contender import Contender
from evaluation.curve_store import Store
from evaluation.curves import Curve
from evaluation.results import Entry
from evaluation.scores import final_loss
from evaluation.settings import Evaluation
from evaluation.training import Lane
from tasks.fixed import FixedTask

Progress = Callable[[int], None]
"""Told the number of training steps just done, or found on disk."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Runs what the settings ask for and keeps every curve in the store."""

    settings: Evaluation
    store: Store

    def num_steps(self, task: FixedTask, contender: Contender) -> int:
        """Training steps of all runs of an optimizer on a task, at most."""
        settings, rule = self.settings, contender.rule
        num_trials = contender.tuner.max_trials(rule) if isinstance(rule, Baseline) else 1
        num_runs = num_trials * settings.num_tuning_seeds + settings.num_seeds
        if self._is_stretched(contender):
            num_runs += min(settings.num_stretched, num_trials) * settings.num_seeds * settings.stretch
        return task.num_steps * num_runs

    def entry(self, task: FixedTask, contender: Contender, on_steps: Progress = lambda num_steps: None) -> Entry:
        """Tunes on the tuning seeds, then runs the winner on the reporting seeds, the reference also for longer.

        An optimizer without anything to tune has one setting and runs on both sets of seeds too, so that it can be
        held against every trial of a tuned one.
        """
        runner.limit_programs()
        settings, trials = [], []
        losses: list[float] = []
        while batch := self._propose(contender, list(zip(settings, losses, strict=True))):
            new = self._runs(task, contender, batch, self.settings.tuning_seeds, on_steps)
            settings += batch
            trials += new
            losses += [_mean_final_loss(curves) for curves in new]
        chosen = tuning.choose(np.array(losses)[:, None])
        (reported,) = self._runs(task, contender, [settings[chosen]], self.settings.seeds, on_steps)
        stretched = ()
        if self._is_stretched(contender):
            order = sorted(range(len(losses)), key=lambda index: losses[index])[: self.settings.num_stretched]
            best = [settings[index] for index in order]
            stretched = self._runs(task, contender, best, self.settings.seeds, on_steps, self.settings.stretch)
        rule = contender.rule
        return Entry(
            task=task.name,
            optimizer=contender.name,
            is_learned=contender.is_learned,
            tuning=contender.tuner.words if isinstance(rule, Baseline) and rule.defaults else "",
            trials=tuple(trials),
            chosen=chosen,
            reported=reported,
            stretched=tuple(stretched),
        )

    def _is_stretched(self, contender: Contender) -> bool:
        return self.settings.stretch > 1 and specification.is_reference(contender)

    def _propose(self, contender: Contender, tried: list[tuning.Tried]) -> list[tuning.Setting]:
        if isinstance(contender.rule, Baseline):
            return contender.tuner.propose(contender.rule, tried)
        return [] if tried else [()]

    def _runs(
        self,
        task: FixedTask,
        contender: Contender,
        settings: Sequence[tuning.Setting],
        seeds: Sequence[int],
        on_steps: Progress,
        stretch: int = 1,
    ) -> list[tuple[Curve, ...]]:
        """[settings][seeds]"""
        lanes = [Lane(setting, seed) for setting in settings for seed in seeds]
        curves = self.curves(task, contender, lanes, on_steps, stretch)
        return [tuple(curves[begin : begin + len(seeds)]) for begin in range(0, len(curves), len(seeds))]

    def curves(
        self, task: FixedTask, contender: Contender, lanes: Sequence[Lane], on_steps: Progress, stretch: int = 1
    ) -> list[Curve]:
        """One curve a lane, in the order of the lanes; new ones are on disk before the next group of lanes starts.

        A run that is `stretch` times longer has its checkpoints as far apart, and so the same compiled segments.
        """
        settings = self.settings
        task = dataclasses.replace(task, num_steps=task.num_steps * stretch)
        num_lanes = settings.num_lanes or runner.automatic_num_lanes()
        checkpoints = {
            "num_checkpoints": settings.num_checkpoints * stretch,
            "num_valid_batches": settings.num_valid_batches,
        }
        common = identity.common(task, contender, **checkpoints)
        keys = {lane: identity.key(common, lane) for lane in lanes}
        found: dict[Lane, Curve] = {}
        for lane in lanes:
            curve = self.store.get(keys[lane])
            if curve is not None:
                found[lane] = curve
                on_steps(task.num_steps)
        missing = [lane for lane in lanes if lane not in found]
        for begin in range(0, len(missing), num_lanes):
            group = missing[begin : begin + num_lanes]
            new = runner.run(task, contender, group, num_lanes=num_lanes, on_steps=on_steps, **checkpoints)
            for lane, curve in zip(group, new, strict=True):
                self.store.put(keys[lane], curve)
                found[lane] = dataclasses.replace(curve, key=keys[lane])
        return [found[lane] for lane in lanes]


def _mean_final_loss(curves: Sequence[Curve]) -> float:
    return float(np.mean([final_loss(curve.train_loss) for curve in curves]))
