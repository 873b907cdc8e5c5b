"""Hand-designed optimizers by name, each with its search space and its defaults."""

from evaluation.baselines.baseline import Baseline, Hyperparameters
from evaluation.baselines.catalogue import BASELINES, get, names
from evaluation.baselines.schedules import SCHEDULES
from evaluation.baselines.spans import Decay, LogUniform, Span

__all__ = [
    "BASELINES",
    "SCHEDULES",
    "Baseline",
    "Decay",
    "Hyperparameters",
    "LogUniform",
    "Span",
    "get",
    "names",
]
