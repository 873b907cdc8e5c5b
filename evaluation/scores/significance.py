"""Statistics on scores: bootstrap intervals over seeds, wins and losses, paired tests over tasks."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from velo.shapes import Float

LEVEL = 0.95
NUM_RESAMPLES = 500
TIE = 0.01
"""Two final losses are a tie if they differ by at most this share of the baseline's."""


class Interval(NamedTuple):
    """Confidence interval of a score, by default at `LEVEL`; (nan, nan) if there is none."""

    low: float
    high: float


def bootstrap_interval(
    statistic: Callable[..., float], *samples: np.ndarray, level: float = LEVEL, num_resamples: int = NUM_RESAMPLES
) -> Interval:
    """Bootstrap percentile interval of `statistic(*samples)` over seeds, the first axis of every sample.

    Seeds are resampled jointly for all samples, since they are paired. They are first sorted by their values and the
    generator has a fixed seed, so that the interval doesn't depend on the order of the seeds. Resamples whose statistic
    is nan are left out. Three seeds give few different resamples: read such an interval as a range.

    Returns:
        (nan, nan) with fewer than two seeds.
    """
    num_seeds = len(samples[0])
    if num_seeds < 2:
        return Interval(np.nan, np.nan)
    rows = np.concatenate([np.reshape(sample, (num_seeds, -1)) for sample in samples], axis=1)
    order = np.lexsort(rows.T[::-1])
    ordered = [np.asarray(sample)[order] for sample in samples]
    rng = np.random.default_rng(0)
    draws = np.sort(rng.integers(num_seeds, size=(num_resamples, num_seeds)), axis=1)
    draws, counts = np.unique(draws, axis=0, return_counts=True)  # few seeds give few different draws
    values = [statistic(*(sample[draw] for sample in ordered)) for draw in draws]
    return _percentiles(np.repeat(np.asarray(values, np.float64), counts), level)


def stratified_interval(
    statistic: Callable[..., float],
    *samples: Float[np.ndarray, "tasks seeds"],
    level: float = LEVEL,
    num_resamples: int = NUM_RESAMPLES,
) -> Interval:
    """Stratified bootstrap interval of `statistic(*samples)`: seeds are resampled within each task (2108.13264).

    It shows how much other seeds might change the score on these tasks. It says nothing about other tasks. Pairing,
    order and nan are handled as in `bootstrap_interval`.

    Returns:
        (nan, nan) with fewer than two seeds.
    """
    columns = _ordered(samples)
    num_tasks, num_seeds, _ = columns.shape
    if num_seeds < 2:
        return Interval(np.nan, np.nan)
    rng = np.random.default_rng(0)
    rows = np.arange(num_tasks)[:, None]
    seeds = [rng.integers(num_seeds, size=(num_tasks, num_seeds)) for _ in range(num_resamples)]
    values = [statistic(*np.moveaxis(columns[rows, drawn], -1, 0)) for drawn in seeds]
    return _percentiles(np.asarray(values, np.float64), level)


def nested_interval(
    statistic: Callable[..., float],
    *samples: Float[np.ndarray, "tasks seeds"],
    level: float = LEVEL,
    num_resamples: int = NUM_RESAMPLES,
) -> Interval:
    """Bootstrap interval of `statistic(*samples)` that resamples tasks, and seeds in each (Davison and Hinkley 1997).

    It shows how much other tasks like these, with other seeds, might change the score. It is wider than
    `stratified_interval`. Pairing, order and nan are handled as in `bootstrap_interval`.

    Returns:
        (nan, nan) with fewer than two tasks.
    """
    columns = _ordered(samples)
    num_tasks, num_seeds, _ = columns.shape
    if num_tasks < 2:
        return Interval(np.nan, np.nan)
    rng = np.random.default_rng(0)
    values = []
    for _ in range(num_resamples):
        rows = rng.integers(num_tasks, size=(num_tasks, 1))
        drawn = columns[rows, rng.integers(num_seeds, size=(num_tasks, num_seeds))]
        values.append(statistic(*np.moveaxis(drawn, -1, 0)))
    return _percentiles(np.asarray(values, np.float64), level)


def _ordered(samples: Sequence[np.ndarray]) -> np.ndarray:
    """[tasks, seeds, samples], tasks and seeds sorted by their values."""
    columns = np.stack(samples, axis=-1)
    columns = np.stack([task[np.lexsort(task.T[::-1])] for task in columns])
    return columns[np.lexsort(columns.reshape(len(columns), -1).T[::-1])]


def _percentiles(values: np.ndarray, level: float) -> Interval:
    """The central interval of the values that aren't nan."""
    values = values[~np.isnan(values)]
    if not len(values):
        return Interval(np.nan, np.nan)
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail], method="nearest")  # interpolating infinities would give nan
    return Interval(float(low), float(high))


class Record(NamedTuple):
    """How often an optimizer did better than, as well as, or worse than another."""

    wins: int
    ties: int
    losses: int


def compare(final: Float[np.ndarray, " runs"], baseline: Float[np.ndarray, " runs"], *, tie: float = TIE) -> Record:
    """Wins, ties and losses of paired final losses.

    A tie is a difference of at most `tie` times the baseline's absolute loss, or two runs that both diverged.
    """
    final = np.where(np.isfinite(final), final, np.inf)
    baseline = np.where(np.isfinite(baseline), baseline, np.inf)
    both = np.isinf(final) & np.isinf(baseline)
    margin = np.where(np.isfinite(baseline), tie * np.abs(baseline), 0.0)
    wins = ~both & (final < baseline - margin)
    losses = ~both & (final > baseline + margin)
    num_ties = final.size - int(wins.sum()) - int(losses.sum())
    return Record(int(wins.sum()), num_ties, int(losses.sum()))


def paired_p_value(final: Float[np.ndarray, " tasks"], baseline: Float[np.ndarray, " tasks"]) -> float:
    """p-value of a two-sided Wilcoxon signed-rank test on the logarithms of the loss ratios, one pair per task.

    Under the null hypothesis a task favours either optimizer by the same factor with equal probability. A run that
    diverged counts as the largest difference. Tasks on which both diverged, or whose losses aren't positive, are left
    out. Returns 1 if no difference is left.
    """
    from scipy.stats import wilcoxon

    final, baseline = (np.where(np.isfinite(x), np.asarray(x, np.float64), np.inf) for x in (final, baseline))
    valid = (final > 0) & (baseline > 0) & (np.isfinite(final) | np.isfinite(baseline))
    differences = np.log(final[valid]) - np.log(baseline[valid])
    finite = np.abs(differences[np.isfinite(differences)])
    largest = finite.max(initial=1.0) + 1.0
    differences = np.clip(differences, -largest, largest)
    differences = np.sort(differences[differences != 0])
    if not len(differences):
        return 1.0
    result: Any = wilcoxon(differences)
    return float(result.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values with Holm's correction (1979), which controls the probability of one or more false findings."""
    values = np.asarray(p_values, np.float64)
    order = np.argsort(values, kind="stable")
    factors = len(values) - np.arange(len(values))
    corrected = np.minimum(1.0, np.maximum.accumulate(factors * values[order]))
    result = np.empty_like(corrected)
    result[order] = corrected
    return [float(value) for value in result]
