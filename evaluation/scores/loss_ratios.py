"""Many runs in one number."""

import numpy as np

from velo.shapes import Float


def loss_ratio(final: Float[np.ndarray, " seeds"], baseline: Float[np.ndarray, " seeds"]) -> float:
    """Geometric mean over seeds of final loss / the baseline's final loss under the same seed; below 1 is better.

    inf if the optimizer diverged under a seed. nan if a loss isn't positive, where a ratio means nothing, or if the
    baseline diverged.
    """
    final, baseline = np.asarray(final, np.float64), np.asarray(baseline, np.float64)
    if (final <= 0).any() or (baseline <= 0).any() or not np.isfinite(baseline).all() or np.isnan(final).any():
        return np.nan
    return float(np.exp(np.mean(np.log(final) - np.log(baseline))))


def interquartile_mean(values: Float[np.ndarray, "tasks seeds"]) -> float:
    """Mean of the middle half of all runs (2108.13264): neither the best quarter nor the worst count, so that a few
    diverged runs don't decide; inf once they reach the middle half. nan if a value is nan.

    A quarter that is no whole number of runs counts the run at its edge in part, as an exact trimmed mean does.
    """
    ordered = np.sort(np.asarray(values, np.float64), axis=None)
    if np.isnan(ordered).any():
        return np.nan
    places = np.arange(len(ordered) + 1) / len(ordered)
    weights = np.clip(places[1:], 0.25, 0.75) - np.clip(places[:-1], 0.25, 0.75)
    inside = weights > 1e-12
    return float(np.sum(weights[inside] * ordered[inside]) / 0.5)


def probability_of_improvement(
    final: Float[np.ndarray, "tasks seeds"], baseline: Float[np.ndarray, "tasks baseline_seeds"]
) -> float:
    """Chance that a run of the optimizer ends below a run of the baseline on a task drawn at random (2108.13264).

    Within a task every run is held against every run (Mann and Whitney's statistic); equal losses, both infinite
    included, count one half.
    """
    final = np.where(np.isfinite(final), final, np.inf)[:, :, None]
    baseline = np.where(np.isfinite(baseline), baseline, np.inf)[:, None, :]
    return float(np.mean((final < baseline) + 0.5 * (final == baseline)))
