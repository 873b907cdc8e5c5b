"""Estimators of the meta-gradient, one file for each method."""

from meta_train.estimators.base import Estimate, GradientEstimator
from meta_train.estimators.full_backprop import FullBackprop
from meta_train.estimators.full_es import FullES
from meta_train.estimators.nres import NRES
from meta_train.estimators.pes import PES
from meta_train.estimators.truncated_backprop import TruncatedBackprop
from meta_train.estimators.truncated_es import TruncatedES

ESTIMATORS = (FullES, PES, NRES, TruncatedES, FullBackprop, TruncatedBackprop)

__all__ = [
    "ESTIMATORS",
    "NRES",
    "PES",
    "Estimate",
    "FullBackprop",
    "FullES",
    "GradientEstimator",
    "TruncatedBackprop",
    "TruncatedES",
]
