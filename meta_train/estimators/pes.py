"""Persistent evolution strategies (Vicol et al. 2021, 2112.13835, algorithm 2)."""

import dataclasses

import jax.numpy as jnp

from meta_train.estimators.segmented import SegmentedEstimator


@dataclasses.dataclass(frozen=True)
class PES(SegmentedEstimator):
    """Credits each segment's loss to the sum of its episode's perturbations so far: truncated, yet unbiased."""

    def noises(self, new, past, fresh):
        """The new noise is applied; the sum over the episode is credited and remembered."""
        total = jnp.where(fresh[:, None], 0.0, past) + new
        return new, total, total
