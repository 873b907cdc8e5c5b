"""The winner among tried settings."""

import numpy as np

from velo.shapes import Float


def choose(final_losses: Float[np.ndarray, "settings seeds"]) -> int:
    """Index of the setting with the least mean final loss over the tuning seeds.

    A non-finite loss counts as infinite, so that a setting that diverged on any seed can't win; among equals (all
    infinite included) the first wins.
    """
    finite = np.where(np.isfinite(final_losses), final_losses, np.inf)
    return int(np.argmin(finite.mean(axis=1)))
