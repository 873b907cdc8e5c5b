"""Time to target and performance profiles, as AlgoPerf scores optimizers (2306.07179)."""

import numpy as np

from evaluation.scores.smoothed_losses import final_loss, lower_envelope, smooth, steps_to
from velo.shapes import Float

MAX_TAU = 4.0


def times_to_target(
    losses: Float[np.ndarray, "seeds steps"],
    baseline: Float[np.ndarray, "seeds baseline_steps"],
    seconds_per_step: float = 1.0,
) -> float:
    """Median over seeds of the steps (or seconds) until the smoothed loss is first at the baseline's final loss under
    the same seed; a seed that misses counts as infinite, and so does one whose baseline diverged.
    """
    times = [
        steps_to(lower_envelope(smooth(run)), target) if np.isfinite(target) else np.inf
        for run, target in zip(losses, final_loss(baseline), strict=True)
    ]
    with np.errstate(invalid="ignore"):  # the middle of two infinities
        median = np.median(times)
    return np.inf if np.isnan(median) else float(median) * seconds_per_step


def performance_profile(
    times: Float[np.ndarray, "tasks optimizers"], taus: Float[np.ndarray, " taus"]
) -> Float[np.ndarray, "optimizers taus"]:
    """Share of tasks on which an optimizer is at most tau times as slow as the fastest one.

    A miss is infinite; on a task that all miss nobody scores.
    """
    times = np.asarray(times, np.float64)
    best = times.min(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        ratios = np.where(np.isfinite(times), times / best, np.inf)
    return (ratios[:, :, None] <= np.asarray(taus)[None, None, :]).mean(axis=0)


def profile_score(times: Float[np.ndarray, "tasks optimizers"]) -> Float[np.ndarray, " optimizers"]:
    """Area under each profile from tau = 1 to 4 over its width: 1 if always the fastest, 0 if never within a factor 4.

    Exact: a task with ratio r adds (4 - r) / 3 where r < 4.
    """
    times = np.asarray(times, np.float64)
    best = times.min(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        ratios = np.where(np.isfinite(times), times / best, np.inf)
    return np.clip((MAX_TAU - ratios) / (MAX_TAU - 1.0), 0.0, None).mean(axis=0)
