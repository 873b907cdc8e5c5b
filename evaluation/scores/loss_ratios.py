"""Scores that compare the final losses of many runs with those of the baseline, or of its tuning trials."""

import math

import numpy as np

from velo.shapes import Float


def loss_ratio(final: Float[np.ndarray, " seeds"], baseline: Float[np.ndarray, " seeds"]) -> float:
    """Geometric mean over seeds of final loss / baseline's final loss, paired by seed; below 1 is better.

    Returns inf if a final loss of the optimizer is infinite, and nan if one of the baseline's is or if a loss isn't
    positive.
    """
    final, baseline = np.asarray(final, np.float64), np.asarray(baseline, np.float64)
    if (final <= 0).any() or (baseline <= 0).any() or not np.isfinite(baseline).all() or np.isnan(final).any():
        return np.nan
    return float(np.exp(np.mean(np.log(final) - np.log(baseline))))


def geometric_mean_ratio(final: Float[np.ndarray, "tasks seeds"], baseline: Float[np.ndarray, "tasks seeds"]) -> float:
    """`loss_ratio` over tasks and seeds: all tasks have equal weight, and a single infinite loss makes it inf."""
    return loss_ratio(np.ravel(final), np.ravel(baseline))


def interquartile_mean(values: Float[np.ndarray, "tasks seeds"]) -> float:
    """Mean of the middle half of all runs (2108.13264); nan if a value is nan.

    It drops the best and the worst quarter, so that a few diverged runs don't decide the score. It is inf once diverged
    runs reach the middle half. If a quarter isn't a whole number of runs, the run at its edge counts fractionally.
    """
    ordered = np.sort(np.asarray(values, np.float64), axis=None)
    if np.isnan(ordered).any():
        return np.nan
    places = np.arange(len(ordered) + 1) / len(ordered)
    shares = np.clip(places[1:], 0.25, 0.75) - np.clip(places[:-1], 0.25, 0.75)
    inside = shares > 1e-12  # a weight of 0 times an infinite loss would be nan
    return float(np.sum(shares[inside] * ordered[inside]) / 0.5)


def probability_of_improvement(
    final: Float[np.ndarray, "tasks seeds"], baseline: Float[np.ndarray, "tasks baseline_seeds"]
) -> float:
    """Probability that the optimizer's final loss is below the baseline's, on a random task (2108.13264).

    Within a task, every run of the optimizer is compared with every run of the baseline (Mann-Whitney statistic). Equal
    losses, two infinite ones included, count one half.
    """
    final = np.where(np.isfinite(final), final, np.inf)[:, :, None]
    baseline = np.where(np.isfinite(baseline), baseline, np.inf)[:, None, :]
    return float(np.mean((final < baseline) + 0.5 * (final == baseline)))


def best_of(trials: Float[np.ndarray, " trials"]) -> Float[np.ndarray, " trials"]:
    """Median, over random subsets of n trials, of the least final loss in the subset; for n = 1, 2, ..., all.

    Subsets are drawn without replacement. The median copes with trials that diverged (infinite losses), where a mean
    would be infinite. Half of all subsets do at least as well as this median.
    """
    ordered = np.sort(np.where(np.isfinite(trials), trials, np.inf))
    total = len(ordered)
    # The least of n trials is among the m best unless all n come from the other total - m.
    places = [
        next(m for m in range(1, total + 1) if 2 * math.comb(total - m, n) <= math.comb(total, n))
        for n in range(1, total + 1)
    ]
    return ordered[np.array(places) - 1]


def worth_trials(loss: float, trials: Float[np.ndarray, " trials"]) -> float:
    """Least n for which the best of n random trials of a tuned optimizer is at most `loss` in half of all draws.

    Returns 1 if half of the trials are at most `loss`, inf if none is, and 0 if `loss` isn't finite.
    """
    if not np.isfinite(loss):
        return 0.0
    reached = np.flatnonzero(best_of(trials) <= loss)
    return float(reached[0] + 1) if len(reached) else np.inf
