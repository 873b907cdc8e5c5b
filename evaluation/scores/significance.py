"""How far a score can be trusted: bootstrap over seeds, within tasks."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from velo.shapes import Float

LEVEL = 0.95
NUM_RESAMPLES = 500


class Interval(NamedTuple):
    low: float
    high: float


def bootstrap_interval(
    statistic: Callable[..., float], *samples: np.ndarray, level: float = LEVEL, num_resamples: int = NUM_RESAMPLES
) -> Interval:
    """Percentile interval of `statistic(*samples)` when seeds (the first axis, shared by all samples) are redrawn.

    Seeds are put in an order of their values first and the draws are seeded, so that the same runs always give the
    same interval, in whatever order they come. (nan, nan) with fewer than two seeds. Resamples whose statistic is nan
    are left out. Few seeds give few different resamples: with three, read it as a range and not as a probability.
    """
    num_seeds = len(samples[0])
    if num_seeds < 2:
        return Interval(np.nan, np.nan)
    rows = np.concatenate([np.reshape(sample, (num_seeds, -1)) for sample in samples], axis=1)
    order = np.lexsort(rows.T[::-1])
    ordered = [np.asarray(sample)[order] for sample in samples]
    rng = np.random.default_rng(0)
    draws = np.sort(rng.integers(num_seeds, size=(num_resamples, num_seeds)), axis=1)
    draws, counts = np.unique(draws, axis=0, return_counts=True)  # few seeds: few different draws
    values = [statistic(*(sample[draw] for sample in ordered)) for draw in draws]
    return _percentiles(np.repeat(np.asarray(values, np.float64), counts), level)


def stratified_interval(
    statistic: Callable[..., float],
    *samples: Float[np.ndarray, "tasks seeds"],
    level: float = LEVEL,
    num_resamples: int = NUM_RESAMPLES,
) -> Interval:
    """Percentile interval of `statistic(*samples)` when seeds are redrawn within each task (2108.13264).

    Seeds are redrawn together for all samples: they are paired. Says how much other seeds might change the score on
    these tasks, not how other tasks might. Orders and infinities as in `bootstrap_interval`; (nan, nan) with fewer
    than two seeds.
    """
    num_tasks, num_seeds = samples[0].shape
    if num_seeds < 2:
        return Interval(np.nan, np.nan)
    columns = np.stack(samples, axis=-1)  # [tasks, seeds, samples]
    columns = np.stack([task[np.lexsort(task.T[::-1])] for task in columns])
    columns = columns[np.lexsort(columns.reshape(num_tasks, -1).T[::-1])]
    rng = np.random.default_rng(0)
    rows = np.arange(num_tasks)[:, None]
    values = []
    for _ in range(num_resamples):
        drawn = columns[rows, rng.integers(num_seeds, size=(num_tasks, num_seeds))]
        values.append(statistic(*np.moveaxis(drawn, -1, 0)))
    return _percentiles(np.asarray(values, np.float64), level)


def _percentiles(values: np.ndarray, level: float) -> Interval:
    """Of what isn't nan."""
    values = values[~np.isnan(values)]
    if not len(values):
        return Interval(np.nan, np.nan)
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail], method="nearest")  # "nearest" keeps infinities from giving nan
    return Interval(float(low), float(high))
