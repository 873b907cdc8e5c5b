"""Host-side sampling of random architectures from weighted families."""

import dataclasses

import numpy as np

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


@dataclasses.dataclass(frozen=True)
class TaskMixture:
    """Families by name with their weights; equal seeds give equal families on every machine."""

    families: tuple[tuple[str, float], ...]

    def __post_init__(self):
        if not self.families:
            raise ValueError("TaskMixture: families must not be empty")
        for name, weight in self.families:
            if name not in FAMILIES:
                raise ValueError(f"TaskMixture: unknown family {name!r}; known: {', '.join(sorted(FAMILIES))}")
            if not weight > 0:
                raise ValueError(f"TaskMixture: the weight of {name} must be positive, got {weight}")

    def sample(self, rng: np.random.Generator) -> TaskFamily:
        weights = np.array([weight for _, weight in self.families])
        name = self.families[int(rng.choice(len(weights), p=weights / weights.sum()))][0]
        return FAMILIES[name].sample(rng)


HELD_OUT_FAMILIES = ("GraphClassifier",)
"""In no default mixture: there is one data set of graphs, and evaluation reports on it."""
_ANALYTIC_FAMILIES = ("ClassicalFunction", "Quadratic")

MIXTURES = {
    "broad": TaskMixture(
        tuple(
            (name, 0.5 if name in _ANALYTIC_FAMILIES else 1.0)
            for name in sorted(FAMILIES)
            if name not in HELD_OUT_FAMILIES
        )
    ),
    "small": TaskMixture((("MLPClassifier", 3.0), ("ConvClassifier", 1.0), ("MLPLanguageModel", 2.0))),
}
"""Named mixtures."""


def get_mixture(name: str) -> TaskMixture:
    if name not in MIXTURES:
        raise ValueError(f"unknown mixture {name!r}; known: {', '.join(sorted(MIXTURES))}")
    return MIXTURES[name]
