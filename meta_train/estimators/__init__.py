"""Gradients of the meta-loss by evolution strategies, one file a method."""

from meta_train.estimators.base import Estimate, GradientEstimator
from meta_train.estimators.full_es import FullES
from meta_train.estimators.pes import PES
from meta_train.estimators.truncated_es import TruncatedES

__all__ = ["PES", "Estimate", "FullES", "GradientEstimator", "TruncatedES"]
