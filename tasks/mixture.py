"""Host-side sampling of random architectures from weighted families."""

import dataclasses
from typing import Any, cast

import numpy as np

from tasks import cost
from tasks.augmentation import AUGMENTATIONS
from tasks.data import SOURCES, is_here
from tasks.data.missing import MissingDataError
from tasks.families.autoencoder import Autoencoder
from tasks.families.classical_function import ClassicalFunction
from tasks.families.click_model import ClickModel
from tasks.families.conv_classifier import ConvClassifier
from tasks.families.graph_classifier import GraphClassifier
from tasks.families.learned_optimizer_training import LearnedOptimizerTraining
from tasks.families.mlp_classifier import MLPClassifier
from tasks.families.mlp_language_model import MLPLanguageModel
from tasks.families.mlp_mixer import MLPMixer
from tasks.families.quadratic import Quadratic
from tasks.families.resnet_classifier import ResNetClassifier
from tasks.families.rnn_language_model import RNNLanguageModel
from tasks.families.sampling import choice
from tasks.families.sequence_labeller import SequenceLabeller
from tasks.families.sequence_to_sequence import SequenceToSequence
from tasks.families.teacher_regression import TeacherRegression
from tasks.families.transformer_language_model import TransformerLanguageModel
from tasks.families.variational_autoencoder import VariationalAutoencoder
from tasks.families.vision_transformer import VisionTransformer
from tasks.family import TaskFamily

FAMILIES = {
    family.__name__: family
    for family in (
        Autoencoder,
        ClassicalFunction,
        ClickModel,
        ConvClassifier,
        GraphClassifier,
        LearnedOptimizerTraining,
        MLPClassifier,
        MLPLanguageModel,
        MLPMixer,
        Quadratic,
        ResNetClassifier,
        RNNLanguageModel,
        SequenceLabeller,
        SequenceToSequence,
        TeacherRegression,
        TransformerLanguageModel,
        VariationalAutoencoder,
        VisionTransformer,
    )
}
"""Families that know how to sample their architecture."""

MAX_REJECTIONS = 200
"""Samples over the cap before a mixture gives up."""


@dataclasses.dataclass(frozen=True)
class TaskMixture:
    """Families by name with their weights; equal seeds give equal families on every machine."""

    families: tuple[tuple[str, float], ...]
    augmentation: str = "none"
    """Named probabilities of `tasks.augmentation`."""
    image_datasets: tuple[str, ...] = ("digits",)
    """What families of images choose from."""
    text_datasets: tuple[str, ...] = ("python_help",)
    """What language models choose from."""
    skip_missing: bool = False
    """Leaves out data sets that are not on this machine: equal seeds then give equal families where equal sets are."""
    max_step_seconds: float | None = None
    """Cap on the predicted time of a step (`tasks.cost`); none predicts nothing."""

    def __post_init__(self):
        if not self.families:
            raise ValueError("TaskMixture: families must not be empty")
        for name, weight in self.families:
            if name not in FAMILIES:
                raise ValueError(f"TaskMixture: unknown family {name!r}; known: {', '.join(sorted(FAMILIES))}")
            if not weight > 0:
                raise ValueError(f"TaskMixture: the weight of {name} must be positive, got {weight}")
        if self.augmentation not in AUGMENTATIONS:
            known = ", ".join(sorted(AUGMENTATIONS))
            raise ValueError(f"TaskMixture: unknown augmentation {self.augmentation!r}; known: {known}")
        if self.max_step_seconds is not None and not self.max_step_seconds > 0:
            raise ValueError(f"TaskMixture: max_step_seconds must be positive, got {self.max_step_seconds}")
        for kind, names in (("image", self.image_datasets), ("text", self.text_datasets)):
            for name in names:
                if name not in SOURCES or SOURCES[name].kind != kind:
                    known = ", ".join(sorted(name for name, source in SOURCES.items() if source.kind == kind))
                    raise ValueError(f"TaskMixture: {name!r} is not a data set of kind {kind}; known: {known}")

    def sample(self, rng: np.random.Generator) -> TaskFamily:
        """A random architecture on random data, perhaps augmented.

        Samples over the cap on the step's time are drawn again; a ValueError says so where none passes. Raises a
        MissingDataError where `skip_missing` leaves nothing to choose from; without it, a missing set is the
        error of whoever loads it.
        """
        for _ in range(MAX_REJECTIONS):
            family = self._propose(rng)
            if self.max_step_seconds is None or cost.predict_step_seconds(family) <= self.max_step_seconds:
                return family
        raise ValueError(
            f"TaskMixture: none of {MAX_REJECTIONS} samples takes less than "
            f"max_step_seconds={self.max_step_seconds} a step"
        )

    def _propose(self, rng: np.random.Generator) -> TaskFamily:
        weights = np.array([weight for _, weight in self.families])
        name = self.families[int(rng.choice(len(weights), p=weights / weights.sum()))][0]
        family = self._choose_data(FAMILIES[name].sample(rng), rng)
        return AUGMENTATIONS[self.augmentation].apply(family, rng)

    def _choose_data(self, family: TaskFamily, rng: np.random.Generator) -> TaskFamily:
        by_kind = {"image": self.image_datasets, "text": self.text_datasets}
        names = by_kind.get(SOURCES[family.dataset].kind)
        if names is None:
            return family
        if self.skip_missing:
            names = tuple(name for name in names if is_here(name))
            if not names:
                raise MissingDataError(f"TaskMixture: none of the data sets {by_kind} for {family.dataset} is here")
        return dataclasses.replace(cast(Any, family), dataset=choice(rng, names))


HELD_OUT_FAMILIES = ("GraphClassifier",)
"""In no default mixture: there is one data set of graphs, and evaluation reports on it."""
_ANALYTIC_FAMILIES = ("ClassicalFunction", "Quadratic")

_BROAD = tuple(
    (name, 0.5 if name in _ANALYTIC_FAMILIES else 1.0) for name in sorted(FAMILIES) if name not in HELD_OUT_FAMILIES
)

MIXTURES = {
    "broad": TaskMixture(_BROAD),
    "broad_augmented": TaskMixture(_BROAD, augmentation="velo"),
    "broad_downloaded": TaskMixture(
        _BROAD,
        augmentation="velo",
        image_datasets=("digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "svhn", "food101", "imagenet16"),
        text_datasets=("python_help", "lm1b"),
        skip_missing=True,
    ),
    "small": TaskMixture((("MLPClassifier", 3.0), ("ConvClassifier", 1.0), ("MLPLanguageModel", 2.0))),
}
"""Named mixtures."""


def get_mixture(name: str) -> TaskMixture:
    if name not in MIXTURES:
        raise ValueError(f"unknown mixture {name!r}; known: {', '.join(sorted(MIXTURES))}")
    return MIXTURES[name]
