"""What a comparison says in numbers: pure functions on arrays of training losses.

Throughout, a non-finite loss counts as +inf: a run that diverged ends at inf, and whatever it had reached before
stays reached. `seeds` axes are paired: index i is the same seed, so the same problem, for every optimizer.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from velo.shapes import Float

TAIL_STEPS = 10
TAIL_FRACTION = 0.05
TIE = 0.01


class Record(NamedTuple):
    wins: int
    ties: int
    losses: int


class Interval(NamedTuple):
    low: float
    high: float


def window(num_steps: int) -> int:
    """Steps that a smoothed loss averages: the larger of 10 and 5 %, at most all of them."""
    return min(num_steps, max(TAIL_STEPS, round(TAIL_FRACTION * num_steps)))


def smooth(losses: Float[np.ndarray, "*runs steps"]) -> Float[np.ndarray, "*runs steps"]:
    """Mean of the last `window` losses up to each step, or of all so far while there are fewer.

    inf where one of them isn't finite.
    """
    losses = np.asarray(losses, np.float64)
    width = window(losses.shape[-1])
    finite = np.where(np.isfinite(losses), losses, np.inf)
    padding = [(0, 0)] * (losses.ndim - 1) + [(width - 1, 0)]
    views = np.lib.stride_tricks.sliding_window_view(np.pad(finite, padding), width, axis=-1)
    return views.sum(axis=-1) / np.minimum(np.arange(1, losses.shape[-1] + 1), width)


def final_loss(losses: Float[np.ndarray, "*runs steps"]) -> Float[np.ndarray, "*runs"]:
    """Mean of the last max(10, 5 %) training losses; inf if one of them isn't finite."""
    losses = np.asarray(losses, np.float64)
    tail = losses[..., -window(losses.shape[-1]) :]
    return np.where(np.isfinite(tail).all(axis=-1), tail.sum(axis=-1) / tail.shape[-1], np.inf)


def diverged(losses: Float[np.ndarray, "*runs steps"]) -> np.ndarray:
    """Whether a run met a non-finite loss or ended at more than twice the size of its first."""
    losses = np.asarray(losses, np.float64)
    return np.asarray(~np.isfinite(losses).all(axis=-1) | (final_loss(losses) > 2 * np.abs(losses[..., 0])))


def lower_envelope(smoothed: Float[np.ndarray, "*runs steps"]) -> Float[np.ndarray, "*runs steps"]:
    """The least value up to each step: never rises, so that "first step that reaches" has one answer."""
    return np.minimum.accumulate(smoothed, axis=-1)


def steps_to(envelope: Float[np.ndarray, " steps"], target: float) -> float:
    """Number of steps after which `envelope` is at most `target`; inf if it never is."""
    reached = np.flatnonzero(envelope <= target)
    return float(reached[0] + 1) if len(reached) else np.inf


def has_unit(baseline: Float[np.ndarray, "seeds baseline_steps"]) -> bool:
    """Whether every run of the baseline ends at a positive, finite loss, which others can be measured in."""
    unit = final_loss(baseline)
    return bool(np.isfinite(unit).all() and (unit > 0).all())


def relative(
    losses: Float[np.ndarray, "seeds steps"], baseline: Float[np.ndarray, "seeds baseline_steps"]
) -> Float[np.ndarray, "seeds steps"]:
    """Smoothed losses as multiples of the baseline's final loss under the same seed, so that every seed counts alike.

    Seeds differ in the task's draw (label noise, scales), and so in the loss that can be reached. Plain smoothed
    losses where the baseline gives no unit (`has_unit`).
    """
    return smooth(losses) / final_loss(baseline)[:, None] if has_unit(baseline) else smooth(losses)


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
    losses: Float[np.ndarray, "seeds steps"], baseline: Float[np.ndarray, "settings seeds baseline_steps"]
) -> float:
    """Steps that the best of the baseline's settings needs / steps that the optimizer needs to reach its lowest loss.

    The baseline is the lower envelope over all its settings (2211.09760): at every step the best of them, which no
    single setting is, so this is hard on the optimizer. inf means that no setting gets that low within its run, 0 that
    the optimizer never has a finite smoothed loss. Deviation: the paper takes the loss at the end of the run and its
    whole length; where losses are noisy, every curve dips below its own end long before it.
    """
    curve = lower_envelope(smooth(losses).mean(axis=0))
    target = float(curve[-1])
    if not np.isfinite(target):
        return 0.0
    envelope = lower_envelope(smooth(baseline).mean(axis=1)).min(axis=0)
    return steps_to(envelope, target) / steps_to(curve, target)


def loss_ratio(final: Float[np.ndarray, " seeds"], baseline: Float[np.ndarray, " seeds"]) -> float:
    """Geometric mean over seeds of final loss / the baseline's final loss under the same seed; below 1 is better.

    inf if the optimizer diverged under a seed. nan if a loss isn't positive, where a ratio means nothing, or if the
    baseline diverged.
    """
    final, baseline = np.asarray(final, np.float64), np.asarray(baseline, np.float64)
    if (final <= 0).any() or (baseline <= 0).any() or not np.isfinite(baseline).all() or np.isnan(final).any():
        return np.nan
    return float(np.exp(np.mean(np.log(final) - np.log(baseline))))


def compare(final: Float[np.ndarray, " runs"], baseline: Float[np.ndarray, " runs"], *, tie: float = TIE) -> Record:
    """Wins, ties and losses of paired final losses; a tie is within `tie` of the baseline's size, or both infinite."""
    final = np.where(np.isfinite(final), final, np.inf)
    baseline = np.where(np.isfinite(baseline), baseline, np.inf)
    both = np.isinf(final) & np.isinf(baseline)
    margin = np.where(np.isfinite(baseline), tie * np.abs(baseline), 0.0)
    wins = ~both & (final < baseline - margin)
    losses = ~both & (final > baseline + margin)
    num_ties = final.size - int(wins.sum()) - int(losses.sum())
    return Record(int(wins.sum()), num_ties, int(losses.sum()))


def bootstrap_interval(
    statistic: Callable[..., float], *samples: np.ndarray, level: float = 0.95, num_resamples: int = 500
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
    values = np.repeat(np.asarray(values, np.float64), counts)
    values = values[~np.isnan(values)]
    if not len(values):
        return Interval(np.nan, np.nan)
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail], method="nearest")  # "nearest" keeps infinities from giving nan
    return Interval(float(low), float(high))
