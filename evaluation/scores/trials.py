"""What tuning is worth: the best of several trials, and the number of trials that an untuned optimizer saves."""

import math

import numpy as np

from velo.shapes import Float


def best_of(trials: Float[np.ndarray, " trials"]) -> Float[np.ndarray, " trials"]:
    """Median of the least final loss among n of the trials drawn without replacement, for n = 1, 2, ..., all.

    The median and not the mean, so that trials that diverged (infinite) need no special case: half of all draws of n
    trials do at least as well.
    """
    ordered = np.sort(np.where(np.isfinite(trials), trials, np.inf))
    total = len(ordered)
    # The least of n is among the m best unless all n come from the other total - m.
    places = [
        next(m for m in range(1, total + 1) if 2 * math.comb(total - m, n) <= math.comb(total, n))
        for n in range(1, total + 1)
    ]
    return ordered[np.array(places) - 1]


def worth_trials(loss: float, trials: Float[np.ndarray, " trials"]) -> float:
    """How many trials, drawn at random, the tuned optimizer needs to be at least as good in half of all cases.

    1 if half of its trials are as good as `loss`; inf if none is; 0 for an optimizer that diverged.
    """
    if not np.isfinite(loss):
        return 0.0
    reached = np.flatnonzero(best_of(trials) <= loss)
    return float(reached[0] + 1) if len(reached) else np.inf
