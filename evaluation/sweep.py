"""Gets the curves of an optimizer on a task: from the store where they are, by running them where they aren't."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from evaluation import identity, runner, tuning
from evaluation.baselines import Baseline
from evaluation.contender import Contender
from evaluation.curve import Curve
from evaluation.results import Entry
from evaluation.runner import Lane
from evaluation.scores import final_loss
from evaluation.settings import Evaluation
from evaluation.store import Store
from tasks.fixed import FixedTask

Progress = Callable[[int], None]
"""Told the number of training steps just done, or found on disk."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Runs what the settings ask for and keeps every curve in the store."""

    settings: Evaluation
    store: Store

    def num_trials(self, contender: Contender) -> int:
        """Settings tried on the tuning seeds."""
        return len(_grid(contender, self.settings))

    def num_steps(self, task: FixedTask, contender: Contender) -> int:
        """Training steps of all runs of an optimizer on a task."""
        settings = self.settings
        return task.num_steps * (self.num_trials(contender) * settings.num_tuning_seeds + settings.num_seeds)

    def entry(self, task: FixedTask, contender: Contender, on_steps: Progress) -> Entry:
        """Tunes on the tuning seeds, then runs the winner on the reporting seeds.

        An optimizer without a rate has one setting and runs on both sets of seeds too, so that it can be held against
        every rate of a tuned one.
        """
        grid = _grid(contender, self.settings)
        tuning_seeds, seeds = self.settings.tuning_seeds, self.settings.seeds
        lanes = [Lane(setting, seed) for setting in grid for seed in tuning_seeds]
        if len(grid) == 1:  # nothing to choose: both sets of seeds can run together
            lanes += [Lane(grid[0], seed) for seed in seeds]
        curves = self.curves(task, contender, lanes, on_steps)
        trials = [
            curves[begin : begin + len(tuning_seeds)]
            for begin in range(0, len(grid) * len(tuning_seeds), len(tuning_seeds))
        ]
        chosen = 0
        if len(grid) == 1:
            reported = curves[len(tuning_seeds) :]
        else:
            chosen = tuning.choose(
                np.array([[float(final_loss(curve.train_loss)) for curve in trial] for trial in trials])
            )
            reported = self.curves(task, contender, [Lane(grid[chosen], seed) for seed in seeds], on_steps)
        return Entry(
            task.name, contender.name, contender.is_learned, tuple(map(tuple, trials)), chosen, tuple(reported)
        )

    def curves(self, task: FixedTask, contender: Contender, lanes: Sequence[Lane], on_steps: Progress) -> list[Curve]:
        """One curve a lane, in the order of the lanes; new ones are on disk before the next group of lanes starts."""
        settings = self.settings
        checkpoints = {
            "num_checkpoints": settings.num_checkpoints,
            "num_valid_batches": settings.num_valid_batches,
        }
        common = identity.common(task, contender, **checkpoints)
        keys = {lane: identity.key(common, lane) for lane in lanes}
        found: dict[Lane, Curve] = {}
        for lane in lanes:
            curve = self.store.get(keys[lane], task.name, contender.name)
            if curve is not None:
                found[lane] = curve
                on_steps(task.num_steps)
        missing = [lane for lane in lanes if lane not in found]
        for begin in range(0, len(missing), settings.num_lanes):
            group = missing[begin : begin + settings.num_lanes]
            new = runner.run(
                task, contender, group, num_lanes=settings.num_lanes, on_steps=on_steps, **checkpoints
            )  # fmt: skip
            for lane, curve in zip(group, new, strict=True):
                self.store.put(keys[lane], curve)
                found[lane] = curve
        return [found[lane] for lane in lanes]


def _grid(contender: Contender, settings: Evaluation) -> list[tuple[tuple[str, float], ...]]:
    if isinstance(contender.rule, Baseline):
        grid = tuning.log_grid(contender.rule, settings.num_rates)
        return [tuple(sorted(setting.items())) for setting in grid]
    return [()]
