"""Networks that get wider, and sweeps of rates and dampings over their widths."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from evaluation.scores import final_loss
from evaluation.settings import Contender, Procedure
from evaluation.studies.bench import Bench
from evaluation.studies.parametrisation import Direction, InMup, baseline
from evaluation.tuning import as_setting
from tasks.families.bag_of_words import BagOfWords
from tasks.families.conv_classifier import ConvClassifier
from tasks.families.mlp_classifier import MLPClassifier
from tasks.family import TaskFamily
from tasks.fixed import FixedTask
from tasks.wrappers.undisturbed import Undisturbed
from velo.shapes import Float

ACTIVATION = "tanh"
"""Activation of the fully connected networks."""


@dataclasses.dataclass(frozen=True)
class Network:
    """Task families of one kind of network, by width."""

    kind: str
    """mlp, cnn or cbow."""
    batch_size: int

    def at(self, width: int, *, in_mup: bool, base_width: int) -> Undisturbed | InMup:
        """The undisturbed family at a width, in muP or in the standard parametrisation."""
        plain = Undisturbed(self._family(width))
        return InMup(plain, self.base(base_width)) if in_mup else plain

    def base(self, width: int) -> Undisturbed:
        """The family at the base width, where both parametrisations are the same."""
        return Undisturbed(self._family(width))

    def _family(self, width: int):
        match self.kind:
            case "mlp":
                return MLPClassifier("digits", (width, width), ACTIVATION, "lecun_normal", batch_size=self.batch_size)
            case "cnn":
                return ConvClassifier("digits", (width, 2 * width), initializer="he_normal", batch_size=self.batch_size)
            case "cbow":
                return BagOfWords(width=width, batch_size=self.batch_size)
        raise ValueError(f"Network: kind must be mlp, cnn or cbow, got {self.kind!r}")


def sweep(
    bench: Bench,
    families: Sequence[TaskFamily],
    names: Sequence[str],
    direction: Direction,
    settings: Sequence[tuple[float, float]],
    *,
    num_steps: int,
    num_seeds: int,
) -> Float[np.ndarray, "widths settings"]:
    """Final training losses of a network at several widths, means over seeds, inf where a run diverged.

    Args:
        families: one per width.
        names: names of the tasks in stored curves.
        settings: (learning rate, damping) pairs.
    """
    contender = Contender(baseline(direction).name, baseline(direction))
    found = []
    for family, name in zip(families, names, strict=True):
        curves = bench.curves(
            FixedTask(name, family, num_steps),
            contender,
            [as_setting({"learning_rate": rate, "damping": damping}) for rate, damping in settings],
            range(num_seeds),
            Procedure(num_checkpoints=1, num_valid_batches=1),
        )
        found.append([np.mean([final_loss(curve.train_loss) for curve in seeds]) for seeds in curves])
    return np.array(found)
