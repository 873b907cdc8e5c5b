"""Wins and losses, and whether they could be chance."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from velo.shapes import Float

TIE = 0.01


class Record(NamedTuple):
    wins: int
    ties: int
    losses: int


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


def paired_p_value(final: Float[np.ndarray, " tasks"], baseline: Float[np.ndarray, " tasks"]) -> float:
    """Two-sided Wilcoxon signed-rank test on the logarithms of the ratios, one pair a task.

    Under the null hypothesis a task is as likely to favour one as the other by the same factor. A run that diverged is
    the largest difference there is; tasks on which both did, or whose losses aren't positive, are left out. 1 where
    no difference is left.
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
    """Holm's correction for several tests at once (1979): controls the chance of a single false finding."""
    values = np.asarray(p_values, np.float64)
    order = np.argsort(values, kind="stable")
    factors = len(values) - np.arange(len(values))
    corrected = np.minimum(1.0, np.maximum.accumulate(factors * values[order]))
    result = np.empty_like(corrected)
    result[order] = corrected
    return [float(value) for value in result]
