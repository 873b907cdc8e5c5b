"""Noise-reuse evolution strategies (Li et al. 2023, 2304.12180, algorithm 2)."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp

from meta_train.estimators.segmented import SegmentedEstimator


@dataclasses.dataclass(frozen=True)
class NRES(SegmentedEstimator):
    """Holds one perturbation for a whole episode and updates after every segment: unbiased, less variance than PES."""

    holds: ClassVar[bool] = True

    def noises(self, new, past, fresh):
        """One noise for all three: drawn where an episode starts, kept otherwise."""
        held = jnp.where(fresh[:, None], new, past)
        return held, held, held
