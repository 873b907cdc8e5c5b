"""Truncated evolution strategies: cheap, with the bias that PES removes (Vicol et al. 2112.13835, algorithm 1)."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp

from meta_train.estimators.segmented import SegmentedEstimator


@dataclasses.dataclass(frozen=True)
class TruncatedES(SegmentedEstimator):
    """Credits each segment's loss to the segment's own perturbation alone."""

    seeded: ClassVar[bool] = True

    def noises(self, new, past, fresh):
        """The new noise is applied and credited; nothing is remembered."""
        return new, new, jnp.zeros_like(past)
