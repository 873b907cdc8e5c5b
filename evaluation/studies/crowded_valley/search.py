"""The benchmark's procedure: all optimizers untuned, and at the best of nested numbers of random draws."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from evaluation.baselines import Baseline
from evaluation.curves import Curve
from evaluation.settings import Contender, Evaluation
from evaluation.studies.bench import Bench
from evaluation.studies.crowded_valley import problems
from evaluation.studies.crowded_valley.optimizers import OPTIMIZERS, SCHEDULE, SCHEDULES
from evaluation.tuning import RandomSearch, Setting, Tuner, as_setting
from tasks.fixed import FixedTask
from velo.shapes import Float, Int
from velo.transformation import resolve_weights

VELO = "velo"
UNTUNED = 1
"""The budget of an untuned optimizer, which runs with its defaults."""


class Found(NamedTuple):
    """The measurements on one problem. Metrics are better if lower, and inf if a run diverged."""

    reported: dict[tuple[str, str, int], np.ndarray]
    """(optimizer, schedule, budget) -> [seeds] final metric on the reported examples."""
    untuned_choice: dict[tuple[str, str], float]
    """(optimizer, schedule) -> metric of the defaults on the examples for choosing hyperparameters."""
    velo: np.ndarray
    """[seeds] final metric of VeLO."""
    seconds: float
    """Training time of all runs, without compilation."""

    def typical(self, optimizer: str, schedule: str, budget: int) -> float:
        """Median metric over the seeds."""
        return float(np.median(self.reported[optimizer, schedule, budget]))


@dataclasses.dataclass(frozen=True)
class Given(Tuner):
    """Tries a given list of settings."""

    settings: tuple[Setting, ...]

    def propose(self, baseline, tried):
        """All settings at once."""
        return [] if tried else list(self.settings)

    def max_trials(self, baseline):
        """The number of settings."""
        return len(self.settings)

    @property
    def words(self):
        """`26 settings`."""
        return f"{len(self.settings)} settings"


def settings(baseline: Baseline, schedule: str, num_draws: int) -> tuple[Setting, ...]:
    """The defaults, then random draws, under a schedule.

    Draws are nested: a smaller number gives the first of a larger number. Optimizers that share a hyperparameter share
    its draws, and so do schedules.
    """
    tried = RandomSearch(num_draws + 1).propose(baseline, [])
    return tuple(as_setting({**dict(one), SCHEDULE: float(SCHEDULES.index(schedule))}) for one in tried)


def best_of_first(metrics: Float[np.ndarray, " draws"], budgets: Sequence[int]) -> Int[np.ndarray, " budgets"]:
    """Index of the least of the first `budget` metrics, for each budget; non-finite metrics count as inf."""
    metrics = np.where(np.isfinite(metrics), metrics, np.inf)
    return np.array([int(np.argmin(metrics[:budget])) for budget in budgets])


def measure(
    bench: Bench,
    task: FixedTask,
    *,
    optimizers: Sequence[str],
    schedules: Sequence[str],
    budgets: Sequence[int],
    num_seeds: int,
    num_workers: int,
) -> Found:
    """Runs all optimizers under all schedules on a problem.

    Settings are tried on one seed, and chosen by the metric on separate examples. That seed is also one of the reported
    seeds, as in the benchmark.

    Args:
        budgets: numbers of draws, rising.
        num_seeds: number of reported seeds, at least 2.
    """
    pairs = [(optimizer, schedule) for optimizer in optimizers for schedule in schedules]
    tried = {pair: settings(OPTIMIZERS[pair[0]], pair[1], budgets[-1]) for pair in pairs}
    shared: Any = {"num_checkpoints": 1, "num_valid_batches": 1, "stretch": 1, "num_workers": num_workers}
    searches = bench.results(
        Evaluation(
            contenders=tuple(
                Contender(f"{optimizer} {schedule}", OPTIMIZERS[optimizer], tuner=Given(tried[optimizer, schedule]))
                for optimizer, schedule in pairs
            ),
            tasks=(problems.chosen_on(task),), reference=" ".join(pairs[0]), num_seeds=1, **shared,
        )
    )  # fmt: skip
    seconds, chosen, untuned_choice = 0.0, {}, {}
    for pair in pairs:
        trials = searches.entry(task.name, " ".join(pair)).trials
        seconds += sum(trial[0].cost.seconds for trial in trials)
        metrics = np.array([_final(trial[0]) for trial in trials])
        untuned_choice[pair] = float(metrics[0])
        chosen[*pair, UNTUNED] = tried[pair][0]
        for budget, index in zip(budgets, best_of_first(metrics[1:], budgets), strict=True):
            chosen[*pair, budget] = tried[pair][1 + index]
    contenders = [
        Contender(f"{optimizer} {schedule} {budget}", OPTIMIZERS[optimizer], tuner=Given((setting,)))
        for (optimizer, schedule, budget), setting in chosen.items()
    ]
    results = bench.results(
        Evaluation(
            contenders=(*contenders, Contender(VELO, *resolve_weights("default"))), tasks=(task,),
            reference=contenders[0].name, num_seeds=num_seeds - 1, **shared,
        )
    )  # fmt: skip

    def seeds(name: str) -> np.ndarray:
        entry = results.entry(task.name, name)
        return np.array([_final(curve) for curve in (*entry.trials[0], *entry.reported)])

    seconds += sum(curve.cost.seconds for entry in results.entries for curve in (*entry.trials[0], *entry.reported))
    reported = {key: seeds(" ".join(map(str, key))) for key in chosen}
    return Found(reported, untuned_choice, seeds(VELO), seconds)


def _final(curve: Curve) -> float:
    """The metric after the last step, inf if it isn't finite."""
    value = float(curve.valid_loss[-1])
    return value if np.isfinite(value) else np.inf
