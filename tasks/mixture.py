"""Samples random architectures from weighted families, on the host.

For example, in my_module.py:

    mixture = TaskMixture(((MLPClassifier, 3.0), (MyFamily, 1.0)))
    settings = MetaTraining(mixture=mixture)  # or: velo-meta-train laptop --mixture my_module:mixture
"""

import abc
import dataclasses
import math
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
from tasks.wrappers.linearly_normalized import LinearlyNormalized

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
"""Families that can sample an architecture, by name."""

Family = type[Any]  # of a `TaskFamily` with a class method sample(rng, scale)
NORMALIZATIONS = ("linear", "logarithmic")
MAX_REJECTIONS = 200
"""A mixture gives up after this many samples above the cap on a step's time."""
MAX_PLACED = 50
"""Number of samples from the requested family; if all of them are above the cap, any family is sampled."""


class NoSampleError(ValueError):
    """A mixture's cap on the time of a step is below what all of its samples take."""


class Mixture(abc.ABC):
    """A distribution of architectures. Subclasses are frozen dataclasses, hashed by value, and picklable."""

    @abc.abstractmethod
    def sample(self, rng: np.random.Generator, place: float | None = None) -> TaskFamily:
        """A random architecture; equal generators give equal families on every machine.

        Args:
            rng: all randomness of the sample.
            place: in [0, 1), chooses the family: each has a part of [0, 1) as wide as its share of the weights. None
                chooses one at random.

        Raises:
            ValueError: nothing can be sampled.
            MissingDataError: nothing can be sampled without data that are missing here.
        """

    @abc.abstractmethod
    def capped(self, max_step_seconds: float) -> "Mixture":
        """The same mixture without architectures whose predicted time of a step is above `max_step_seconds`."""


@dataclasses.dataclass(frozen=True)
class NamedMixture(Mixture):
    """A mixture with the name that files and commands use: a name of `MIXTURES`, or `module:attribute`."""

    name: str
    mixture: Mixture

    def __str__(self) -> str:
        return self.name

    def sample(self, rng: np.random.Generator, place: float | None = None) -> TaskFamily:
        return self.mixture.sample(rng, place)

    def capped(self, max_step_seconds: float) -> Mixture:
        """The capped mixture, without the name, which stands for the whole mixture."""
        return self.mixture.capped(max_step_seconds)


@dataclasses.dataclass(frozen=True)
class TaskMixture(Mixture):
    """Families with their weights, and choices that all of them share."""

    families: tuple[tuple[Family, float], ...]
    augmentation: str = "none"
    """A name of `tasks.augmentation.AUGMENTATIONS`."""
    image_datasets: tuple[str, ...] = ("digits",)
    """Data sets that families on images choose from."""
    text_datasets: tuple[str, ...] = ("python_help",)
    """Data sets that language models choose from."""
    skip_missing: bool = False
    """Whether to leave out data sets that this machine lacks. Equal seeds then give equal families only on
    machines with the same data sets."""
    max_step_seconds: float | None = None
    """Cap on the predicted time of a step (`tasks.cost`); None has no cap and predicts nothing."""
    scale: int = 1
    """Factor on the largest widths and batches (less on depths and contexts): 1 suits a CPU core, 16 an accelerator."""
    normalization: str = "logarithmic"
    """How losses are normalised: `logarithmic` (`TaskFamily.normalize`), or VeLO's `linear` (`LinearlyNormalized`)."""

    def __post_init__(self):
        if not self.families:
            raise ValueError("TaskMixture: families must not be empty")
        for family, weight in self.families:
            if not (isinstance(family, type) and issubclass(family, TaskFamily) and hasattr(family, "sample")):
                raise ValueError(
                    f"TaskMixture: families must be classes of TaskFamily with a class method sample, got {family!r}"
                )
            if not weight > 0:
                raise ValueError(f"TaskMixture: the weight of {family.__name__} must be positive, got {weight}")
        if self.augmentation not in AUGMENTATIONS:
            known = ", ".join(sorted(AUGMENTATIONS))
            raise ValueError(f"TaskMixture: unknown augmentation {self.augmentation!r}; known: {known}")
        if self.max_step_seconds is not None and not self.max_step_seconds > 0:
            raise ValueError(f"TaskMixture: max_step_seconds must be positive, got {self.max_step_seconds}")
        if self.scale < 1:
            raise ValueError(f"TaskMixture: scale must be at least 1, got {self.scale}")
        if self.normalization not in NORMALIZATIONS:
            known = ", ".join(NORMALIZATIONS)
            raise ValueError(f"TaskMixture: normalization must be one of {known}, got {self.normalization!r}")
        for kind, names in (("image", self.image_datasets), ("text", self.text_datasets)):
            for name in names:
                if name not in SOURCES or SOURCES[name].kind != kind:
                    known = ", ".join(sorted(name for name, source in SOURCES.items() if source.kind == kind))
                    raise ValueError(f"TaskMixture: {name!r} is not a data set of kind {kind}; known: {known}")

    def capped(self, max_step_seconds: float) -> "TaskMixture":
        """The same mixture under the lower of its own cap and this one."""
        own = math.inf if self.max_step_seconds is None else self.max_step_seconds
        return dataclasses.replace(self, max_step_seconds=min(max_step_seconds, own))

    def sample(self, rng: np.random.Generator, place: float | None = None) -> TaskFamily:
        """A random architecture on a random data set, perhaps augmented; samples above the cap are drawn again.

        Without `skip_missing`, a missing data set raises only when it is loaded, which happens here if there is a cap.

        Raises:
            NoSampleError: none of `MAX_REJECTIONS` samples is below the cap.
        """
        for attempt in range(MAX_REJECTIONS):
            family = self._propose(rng, place if attempt < MAX_PLACED else None)
            if self.max_step_seconds is None or cost.predict_step_seconds(family) <= self.max_step_seconds:
                return family
        raise NoSampleError(
            f"TaskMixture: none of {MAX_REJECTIONS} samples takes less than "
            f"max_step_seconds={self.max_step_seconds} a step"
        )

    def _propose(self, rng: np.random.Generator, place: float | None) -> TaskFamily:
        index, _ = _choose([weight for _, weight in self.families], rng, place)
        family = self._choose_data(self.families[index][0].sample(rng, self.scale), rng)
        family = AUGMENTATIONS[self.augmentation].apply(family, rng)
        return LinearlyNormalized(family) if self.normalization == "linear" else family

    def _choose_data(self, family: TaskFamily, rng: np.random.Generator) -> TaskFamily:
        by_kind = {"image": self.image_datasets, "text": self.text_datasets}
        source = SOURCES.get(family.dataset)
        names = by_kind.get(source.kind) if source else None
        if names is None:
            return family
        if self.skip_missing:
            names = tuple(name for name in names if is_here(name))
            if not names:
                raise MissingDataError(f"TaskMixture: none of the data sets {by_kind} for {family.dataset} is here")
        return dataclasses.replace(cast(Any, family), dataset=choice(rng, names))


@dataclasses.dataclass(frozen=True)
class WeightedMixtures(Mixture):
    """Several mixtures; each sample comes from one of them."""

    parts: tuple[tuple[Mixture, float], ...]
    """(mixture, weight)."""

    def __post_init__(self):
        if not self.parts:
            raise ValueError("WeightedMixtures: parts must not be empty")
        for _, weight in self.parts:
            if not weight > 0:
                raise ValueError(f"WeightedMixtures: weights must be positive, got {weight}")

    def capped(self, max_step_seconds: float) -> "WeightedMixtures":
        return WeightedMixtures(tuple((part.capped(max_step_seconds), weight) for part, weight in self.parts))

    def sample(self, rng: np.random.Generator, place: float | None = None) -> TaskFamily:
        """A sample of one part. `place` chooses the part and then the family within it."""
        index, rest = _choose([weight for _, weight in self.parts], rng, place)
        return self.parts[index][0].sample(rng, rest)


def _choose(weights: list[float], rng: np.random.Generator, place: float | None) -> tuple[int, float | None]:
    """(index of the choice, place within it; None if the choice was random)."""
    shares = np.array(weights) / np.sum(weights)
    if place is None:
        return int(rng.choice(len(shares), p=shares)), None
    ends = np.cumsum(shares)
    index = min(int(np.searchsorted(ends, place, side="right")), len(shares) - 1)
    return index, float(np.clip(1.0 - (ends[index] - place) / shares[index], 0.0, 1.0))


HELD_OUT_FAMILIES = (GraphClassifier,)
"""In no default mixture: suites use both data sets of graphs."""
_ANALYTIC_FAMILIES = (ClassicalFunction, Quadratic)
_IMAGES = ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "svhn", "food101", "imagenet16")
_TEXTS = ("python_help", "lm1b")

_BROAD = tuple(
    (family, 0.5 if family in _ANALYTIC_FAMILIES else 1.0)
    for _, family in sorted(FAMILIES.items())
    if family not in HELD_OUT_FAMILIES
)
_EMPHASISED = (Autoencoder, SequenceLabeller, TeacherRegression, VariationalAutoencoder)
_VARIED = tuple((family, 2.0 * weight if family in _EMPHASISED else weight) for family, weight in _BROAD)
_SLOW_IN_LANES = (ClassicalFunction, ConvClassifier, LearnedOptimizerTraining, Quadratic, ResNetClassifier)
_SHORT_PROGRAMS = tuple((family, weight) for family, weight in _VARIED if family not in _SLOW_IN_LANES)
_CHEAP = (MLPClassifier, ConvClassifier, Autoencoder, VariationalAutoencoder, VisionTransformer)
_COSTLY = (RNNLanguageModel, TransformerLanguageModel, ResNetClassifier, LearnedOptimizerTraining)


CORE_OVER_PUBLISHED = 10.0
"""Factor on VeLO's caps, which are seconds on an accelerator. On the core of `tasks.cost` no network takes less than
60 microseconds a step, so none would meet the lowest cap of 20."""


def _velo_phase(caps: tuple[tuple[float, float], ...]) -> WeightedMixtures:
    """VeLO's families under published `caps` of (seconds a step, weight); costly ones only from a cap of .0001 s on."""
    base = TaskMixture(
        tuple((family, 1.0) for family in (*_CHEAP, *_COSTLY)),
        augmentation="velo_published",
        image_datasets=_IMAGES,
        text_datasets=_TEXTS,
        skip_missing=True,
        normalization="linear",
    )
    cheap = base.families[: len(_CHEAP)]
    parts = [
        (
            dataclasses.replace(
                base, families=cheap if cap < 1e-4 else base.families, max_step_seconds=CORE_OVER_PUBLISHED * cap
            ),
            weight,
        )
        for cap, weight in caps
    ]
    return WeightedMixtures(tuple(parts))


_FIRST_PHASE = _velo_phase(((2e-5, 0.65), (1e-4, 0.3), (4e-4, 0.1), (1e-3, 0.05)))
_LATER_PHASES = _velo_phase(((1e-4, 0.4), (4e-4, 0.2), (1e-3, 0.2), (3e-3, 0.2)))
_BROAD_DOWNLOADED = TaskMixture(
    _BROAD, augmentation="velo", image_datasets=_IMAGES, text_datasets=_TEXTS, skip_missing=True
)

MIXTURES: dict[str, TaskMixture | WeightedMixtures] = {
    "broad": TaskMixture(_BROAD),
    "broad_augmented": TaskMixture(_BROAD, augmentation="velo"),
    "broad_downloaded": _BROAD_DOWNLOADED,
    "broad_cluster": dataclasses.replace(_BROAD_DOWNLOADED, augmentation="velo_published", scale=16),
    "varied": TaskMixture(_VARIED, image_datasets=("digits", "textures")),
    "accelerator": TaskMixture(_SHORT_PROGRAMS, image_datasets=("digits", "textures")),
    "small": TaskMixture(((MLPClassifier, 3.0), (ConvClassifier, 1.0), (MLPLanguageModel, 2.0))),
    "velo_phase_1": _FIRST_PHASE,
    "velo_phase_2": _LATER_PHASES,
    "velo_phase_3": _LATER_PHASES,
    "velo_phase_4": _LATER_PHASES,
}
"""Mixtures by name.

- `broad`, `varied` and `small` suit a CPU core. `varied` is `broad` with images of two kinds, and doubles the weights
  of autoencoders, `SequenceLabeller` and `TeacherRegression`.
- `broad_augmented` is `broad` with augmentations; `broad_downloaded` adds public data sets; `broad_cluster` adds
  networks of up to some twenty million parameters.
- `accelerator` is `varied` without the families that are slow in thousands of lanes, such as convolutions, whose
  weights differ between lanes.
- `velo_phase_*` have the families, caps, augmentations and normalisation of VeLO's phases (2211.09760). The last three
  are equal, since those phases differ only in how the optimizer is trained. Deviation: the caps are
  `CORE_OVER_PUBLISHED` times the published ones, and seconds on the machine on which `tasks.cost` is calibrated.
"""


def get_mixture(name: str) -> NamedMixture:
    """The mixture of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in MIXTURES:
        raise ValueError(f"unknown mixture {name!r}; known: {', '.join(sorted(MIXTURES))}")
    return NamedMixture(name, MIXTURES[name])
