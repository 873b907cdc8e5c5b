"""The benchmark's scores: improvements over an untuned optimizer, ranks, the best of several."""

import math

import numpy as np
from scipy import stats

from velo.shapes import Float

NUM_RESAMPLES = 2000


def improvements(
    untuned: Float[np.ndarray, " rows"], tuned: Float[np.ndarray, " columns"]
) -> Float[np.ndarray, "rows columns"]:
    """1 - tuned / untuned: the share of an untuned optimizer's metric (rows) that a tuned one (columns) saves.

    A diverged run has the metric inf. The improvement is 1 from a diverged run to one that didn't diverge, -inf the
    other way round, and 0 between two diverged runs.
    """
    ratios = np.empty((len(untuned), len(tuned)))
    for row, before in enumerate(untuned):
        for column, after in enumerate(tuned):
            if before == after:
                ratios[row, column] = 1.0
            elif math.isinf(before):
                ratios[row, column] = 0.0
            else:
                ratios[row, column] = after / before if before > 0 else np.inf
    return 1.0 - ratios


def ranks(metrics: Float[np.ndarray, "problems optimizers"]) -> Float[np.ndarray, "problems optimizers"]:
    """Ranks on each problem, from 1; equal metrics share their mean rank."""
    return stats.rankdata(metrics, axis=1)


def rank_correlation(one: Float[np.ndarray, " n"], other: Float[np.ndarray, " n"]) -> float:
    """Spearman's rank correlation."""
    return float(np.corrcoef(stats.rankdata(one), stats.rankdata(other))[0, 1])


def expected_best(metrics: Float[np.ndarray, " n"], num_tried: int) -> float:
    """Expected minimum of `num_tried` distinct entries of `metrics`, chosen at random."""
    if not 1 <= num_tried <= len(metrics):
        raise ValueError(f"expected_best: num_tried must be in [1, {len(metrics)}], got {num_tried}")
    total = math.comb(len(metrics), num_tried)
    weights = np.array([math.comb(len(metrics) - 1 - index, num_tried - 1) / total for index in range(len(metrics))])
    used = weights > 0
    return float(weights[used] @ np.sort(metrics)[used])


def median_interval(values: Float[np.ndarray, " n"], confidence: float = 0.95) -> tuple[float, float]:
    """Bootstrap interval of the median."""
    rng = np.random.default_rng(0)
    drawn = np.median(values[rng.integers(len(values), size=(NUM_RESAMPLES, len(values)))], axis=1)
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2], method="nearest")
    return float(low), float(high)
