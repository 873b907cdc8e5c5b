"""Persistent evolution strategies (Vicol et al. 2021, 2112.13835, algorithm 2)."""

import dataclasses

from meta_train.estimators.base import GradientEstimator
from meta_train.estimators.segmented import estimate_segment, init_segmented


@dataclasses.dataclass(frozen=True)
class PES(GradientEstimator):
    """Each segment's loss is credited to all perturbations of its episode so far: truncated, yet unbiased."""

    def init(self, problem, theta, key):
        return init_segmented(self, problem, theta, key)

    def estimate(self, problem, theta, state, data, key):
        return estimate_segment(self, problem, theta, state, data, key, credit_past=True)
