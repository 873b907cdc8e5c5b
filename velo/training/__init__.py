"""`velo.fit`: training without writing a loop and without hyperparameters."""

from velo.training.history import History
from velo.training.result import Fitted, NonFiniteLossError, Step
from velo.training.step import TrainState
from velo.training.trainer import fit

__all__ = ["Fitted", "History", "NonFiniteLossError", "Step", "TrainState", "fit"]
