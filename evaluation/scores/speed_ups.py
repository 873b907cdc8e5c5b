"""Speed-ups: how much sooner an optimizer reaches a loss than its baseline, in steps and in seconds.

Also times to a target loss and performance profiles, as AlgoPerf scores optimizers (2306.07179).
"""

from collections.abc import Sequence

import numpy as np

from evaluation.scores.smoothed_losses import diverged, final_loss, lower_envelope, relative, smooth, steps_to, window
from velo.shapes import Float

MAX_TAU = 4.0
"""Largest factor over the fastest optimizer's time that a performance profile shows."""


def speed_up(losses: Float[np.ndarray, "seeds steps"], baseline: Float[np.ndarray, "seeds baseline_steps"]) -> float:
    """Steps that the baseline needs / steps that the optimizer needs, both to reach the baseline's final loss.

    Each number of steps is the first at which the mean over seeds of the relative losses (`relative`) is at the
    target, even if a noisy curve rises above it later. So the baseline against itself gives exactly 1.

    Returns 0 if the optimizer doesn't reach the target within its run, nan if the baseline's final loss isn't finite.
    """
    curve, reference = relative(losses, baseline).mean(axis=0), relative(baseline, baseline).mean(axis=0)
    target = reference[-1]
    if not np.isfinite(target):
        return np.nan
    return steps_to(lower_envelope(reference), target) / steps_to(lower_envelope(curve), target)


def envelope_speed_up(
    losses: Float[np.ndarray, "seeds steps"], settings: Sequence[Float[np.ndarray, "seeds _"]]
) -> float:
    """Steps that the baseline needs / steps that the optimizer needs, both to reach the optimizer's lowest loss.

    The baseline is the lower envelope over several settings of its hyperparameters (2211.09760). Their runs may be
    longer than the optimizer's, so that speed-ups above 1 can be measured. At every step the envelope takes the best
    setting for that step. No single setting is that good, so this score is hard on the optimizer. All curves are
    smoothed over the window of the optimizer's run.

    Deviation: the paper takes the loss at the end of the run and the run's whole length. With noisy losses, every curve
    falls below its final value long before the end.

    Args:
        settings: the baseline's losses, an array of [seeds, steps] for each setting.

    Returns:
        inf if no setting gets that low within its run. 0 if the optimizer has no finite smoothed loss, or if it
        diverged and its lowest loss is within the first window of steps: it made no progress from the start.
    """
    width = window(losses.shape[-1])
    curve = lower_envelope(smooth(losses, width).mean(axis=0))
    target = float(curve[-1])
    if not np.isfinite(target):
        return 0.0
    num_steps = steps_to(curve, target)
    if num_steps < width and diverged(losses).any():
        return 0.0
    envelopes = [lower_envelope(smooth(runs, width).mean(axis=0)) for runs in settings]
    return min(steps_to(envelope, target) for envelope in envelopes) / num_steps


def share_faster(speed_ups: Float[np.ndarray, " tasks"], factor: float, stretch: float) -> float:
    """Share of tasks on which an optimizer is more than `factor` times as fast as the baseline (2211.09760).

    Args:
        speed_ups: results of `envelope_speed_up`, inf where no run of the baseline got as low.
        stretch: how many times longer the baseline's runs were; a speed-up of inf means at least this factor.

    Returns:
        nan if the baseline's runs were too short to tell: an infinite speed-up and `factor` above `stretch`.
    """
    speed_ups = np.asarray(speed_ups, np.float64)
    if np.isinf(speed_ups).any() and factor > stretch:
        return np.nan
    return float(np.mean(speed_ups > factor))


def in_seconds(steps_speed_up: float, seconds_per_step: float, baseline_seconds_per_step: float) -> float:
    """Converts a speed-up in steps to one in seconds. It includes the optimizer's overhead but not compilation."""
    return steps_speed_up * baseline_seconds_per_step / seconds_per_step


def equal_time_losses(
    losses: Float[np.ndarray, "seeds steps"],
    baseline: Float[np.ndarray, "seeds baseline_steps"],
    seconds_per_step: float,
    baseline_seconds_per_step: float,
) -> tuple[Float[np.ndarray, " seeds"], Float[np.ndarray, " seeds"]]:
    """Final losses of optimizer and baseline after equal time: the runs that take longer are cut short."""
    seconds = min(losses.shape[1] * seconds_per_step, baseline.shape[1] * baseline_seconds_per_step)

    def cut(runs, seconds_per_step):
        """Final losses of runs that stop after `seconds`."""
        num_steps = min(runs.shape[1], max(1, round(seconds / seconds_per_step)))
        return final_loss(runs[:, :num_steps])

    return cut(losses, seconds_per_step), cut(baseline, baseline_seconds_per_step)


def times_to_target(
    losses: Float[np.ndarray, "seeds steps"],
    baseline: Float[np.ndarray, "seeds baseline_steps"],
    seconds_per_step: float = 1.0,
) -> float:
    """Median over seeds of the time until the smoothed loss first reaches the baseline's final loss, paired by seed.

    The time is in steps, or in seconds if `seconds_per_step` is given. It is infinite for a seed that misses the target
    or whose baseline has a non-finite final loss.
    """
    times = [
        steps_to(lower_envelope(smooth(run)), target) if np.isfinite(target) else np.inf
        for run, target in zip(losses, final_loss(baseline), strict=True)
    ]
    with np.errstate(invalid="ignore"):  # the median may average two infinities
        median = np.median(times)
    return np.inf if np.isnan(median) else float(median) * seconds_per_step


def performance_profile(
    times: Float[np.ndarray, "tasks optimizers"], taus: Float[np.ndarray, " taus"]
) -> Float[np.ndarray, "optimizers taus"]:
    """Share of tasks on which an optimizer is at most tau times as slow as the fastest one.

    A time of inf means that the target was missed. A task that every optimizer misses counts for none of them.
    """
    times = np.asarray(times, np.float64)
    best = times.min(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        ratios = np.where(np.isfinite(times), times / best, np.inf)
    return (ratios[:, :, None] <= np.asarray(taus)[None, None, :]).mean(axis=0)


def profile_score(times: Float[np.ndarray, "tasks optimizers"]) -> Float[np.ndarray, " optimizers"]:
    """Mean of each performance profile over tau in [1, 4]: 1 if always the fastest, 0 if never within a factor of 4.

    The mean is exact, without a grid of taus: a task with ratio r < 4 to the fastest time contributes (4 - r) / 3.
    """
    times = np.asarray(times, np.float64)
    best = times.min(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        ratios = np.where(np.isfinite(times), times / best, np.inf)
    return np.clip((MAX_TAU - ratios) / (MAX_TAU - 1.0), 0.0, None).mean(axis=0)
