"""Which hyperparameters are tried, and which of them wins."""

from evaluation.tuning.choice import choose
from evaluation.tuning.grid import LogGrid
from evaluation.tuning.one_shot import OneShot
from evaluation.tuning.optuna_search import OptunaSearch
from evaluation.tuning.random_search import RandomSearch
from evaluation.tuning.tuner import Setting, Tried, Tuner, as_setting

__all__ = [
    "LogGrid",
    "OneShot",
    "OptunaSearch",
    "RandomSearch",
    "Setting",
    "Tried",
    "Tuner",
    "as_setting",
    "choose",
]
