"""How much sooner, in steps and in seconds."""

from collections.abc import Sequence

import numpy as np

from evaluation.scores.smoothed_losses import final_loss, lower_envelope, relative, smooth, steps_to, window
from velo.shapes import Float


def speed_up(losses: Float[np.ndarray, "seeds steps"], baseline: Float[np.ndarray, "seeds baseline_steps"]) -> float:
    """Steps that the baseline needs / steps that the optimizer needs to reach the baseline's final loss.

    Both read off the lower envelope of the mean over seeds of the curves in the baseline's units (`relative`), so that
    the baseline against itself gives exactly 1. The first time counts, even if a noisy curve doesn't keep that loss.
    0 means that the optimizer doesn't reach that loss within its run; nan that the baseline itself ends at a
    non-finite loss.
    """
    curve, reference = relative(losses, baseline).mean(axis=0), relative(baseline, baseline).mean(axis=0)
    target = reference[-1]
    if not np.isfinite(target):
        return np.nan
    return steps_to(lower_envelope(reference), target) / steps_to(lower_envelope(curve), target)


def envelope_speed_up(
    losses: Float[np.ndarray, "seeds steps"], settings: Sequence[Float[np.ndarray, "seeds _"]]
) -> float:
    """Steps that the best of the baseline's settings needs / steps that the optimizer needs to reach its lowest loss.

    The baseline is the lower envelope over all its runs (2211.09760), which may be longer than the optimizer's, and
    longer than each other: up to the longest, speed-ups above 1 are measured. At every step the envelope is the best
    setting for that step, which no single one is, so this is hard on the optimizer.

    inf means that no setting gets that low within its run, 0 that the optimizer never has a finite smoothed loss. All
    curves are smoothed over the window of the optimizer's run. Deviation: the paper takes the loss at the end of the
    run and its whole length; where losses are noisy, every curve dips below its own end long before it.
    """
    width = window(losses.shape[-1])
    curve = lower_envelope(smooth(losses, width).mean(axis=0))
    target = float(curve[-1])
    if not np.isfinite(target):
        return 0.0
    envelopes = [lower_envelope(smooth(runs, width).mean(axis=0)) for runs in settings]
    return min(steps_to(envelope, target) for envelope in envelopes) / steps_to(curve, target)


def in_seconds(steps_speed_up: float, seconds_per_step: float, baseline_seconds_per_step: float) -> float:
    """A speed-up in steps as one in time: the optimizer's overhead counts, compilation doesn't."""
    return steps_speed_up * baseline_seconds_per_step / seconds_per_step


def equal_time_losses(
    losses: Float[np.ndarray, "seeds steps"],
    baseline: Float[np.ndarray, "seeds baseline_steps"],
    seconds_per_step: float,
    baseline_seconds_per_step: float,
) -> tuple[Float[np.ndarray, " seeds"], Float[np.ndarray, " seeds"]]:
    """Final losses of both when the first of them has used up its steps: a slower optimizer is cut short."""
    seconds = min(losses.shape[1] * seconds_per_step, baseline.shape[1] * baseline_seconds_per_step)

    def cut(runs, seconds_per_step):
        num_steps = min(runs.shape[1], max(1, round(seconds / seconds_per_step)))
        return final_loss(runs[:, :num_steps])

    return cut(losses, seconds_per_step), cut(baseline, baseline_seconds_per_step)
