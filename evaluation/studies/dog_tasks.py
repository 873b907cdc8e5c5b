"""The tasks of the study of DoG, its optimizers, and their final losses."""

from typing import NamedTuple

import numpy as np

from evaluation.studies.transfer_tasks import FineTuning, LeastSquares, LinearProbe
from tasks.families.conv_classifier import ConvClassifier
from tasks.families.mlp_classifier import MLPClassifier
from tasks.families.transformer_language_model import TransformerLanguageModel
from tasks.family import TaskFamily
from tasks.wrappers.undisturbed import Undisturbed

TUNED = ("sgd", "sgd_cosine", "sgd_momentum", "sgd_momentum_cosine", "adam_cosine")
FREE = ("dog", "ldog", "tdog")
REFERENCE = "sgd_cosine"
BATCH_NORM_REPS = 1e-4
"""First distance estimate that the authors recommend for batch norm."""
REPS = 1e-6
TAILS = LeastSquares(has_heavy_tails=True)
SQUARES = LeastSquares()
LARGE_REPS = 2.0
"""About the largest first estimate that T-DoG's theorem allows on least squares; with smaller ones it hardly moves."""


class Task(NamedTuple):
    """A problem of the study."""

    family: TaskFamily
    is_convex: bool
    reps: float = REPS


TASKS = {
    "logistic_digits": Task(Undisturbed(MLPClassifier(dataset="digits", widths=())), True),
    "least_squares": Task(SQUARES, True),
    "linear_probe": Task(Undisturbed(LinearProbe()), True),
    "fine_tuning": Task(Undisturbed(FineTuning()), False),
    "conv": Task(Undisturbed(ConvClassifier(dataset="digits", channels=(8, 16))), False),
    "conv_batch_norm": Task(
        Undisturbed(ConvClassifier(dataset="digits", channels=(8, 16), norm="batch")), False, BATCH_NORM_REPS
    ),
    "transformer": Task(Undisturbed(TransformerLanguageModel(dataset="python_source", context=12, width=16)), False),
}
"""Two convex problems and a linear probe of frozen features, then networks."""
BATCH_NORM, SWEPT = "conv_batch_norm", ("logistic_digits", "conv")


class Losses(NamedTuple):
    """Validation losses on one task, inf where a run diverged."""

    tuned: dict[str, np.ndarray]  # optimizer -> [points, rates, seeds]; the points are last iterate and average
    free: dict[str, np.ndarray]  # optimizer -> [points, seeds]

    def best(self, optimizer: str, point: int = 0) -> np.ndarray:
        """[seeds] losses at the rate with the least mean loss."""
        losses = self.tuned[optimizer][point]
        return losses[int(np.argmin(losses.mean(axis=1)))]
