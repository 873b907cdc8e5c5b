"""Which hyperparameters are tried, and which of them wins."""

import numpy as np

from evaluation.baselines import Baseline
from velo.shapes import Float


def log_grid(baseline: Baseline, num_rates: int) -> list[dict[str, float]]:
    """`num_rates` settings, log-spaced over the space's one dimension, both ends included.

    A baseline with nothing to tune gives one empty setting. VeLO (2211.09760) tries Adam at 15 such rates; over
    [1e-5, 1] neighbours differ by a factor of 10^(5/14), 2.3.
    """
    space = dict(baseline.space)
    if not space:
        return [{}]
    if len(space) > 1:
        raise ValueError(f"a grid needs one dimension, {baseline.name!r} has {', '.join(space)}")
    return [
        {name: float(f"{value:.6g}")}
        for name, span in space.items()
        for value in np.geomspace(span.low, span.high, num_rates)
    ]


def choose(final_losses: Float[np.ndarray, "settings seeds"]) -> int:
    """Index of the setting with the least mean final loss over the tuning seeds.

    A non-finite loss counts as infinite, so that a setting that diverged on any seed can't win; among equals (all
    infinite included) the first wins.
    """
    finite = np.where(np.isfinite(final_losses), final_losses, np.inf)
    return int(np.argmin(finite.mean(axis=1)))
