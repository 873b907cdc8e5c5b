"""Truncated evolution strategies: cheap, with the bias that PES removes (Vicol et al. 2112.13835, algorithm 1)."""

import dataclasses

from meta_train.estimators.base import GradientEstimator
from meta_train.estimators.segmented import estimate_segment, init_segmented


@dataclasses.dataclass(frozen=True)
class TruncatedES(GradientEstimator):
    """Each segment's loss is credited to the segment's own perturbation alone."""

    def init(self, problem, theta, key):
        return init_segmented(self, problem, theta, key)

    def estimate(self, problem, theta, state, data, key):
        return estimate_segment(self, problem, theta, state, data, key, credit_past=False)
