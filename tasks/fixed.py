"""Named tasks and suites for evaluation; no default mixture contains them, since their data or their sizes differ."""

import dataclasses

from tasks import public, velodrome
from tasks.families.autoencoder import Autoencoder
from tasks.families.click_model import ClickModel
from tasks.families.conv_classifier import ConvClassifier
from tasks.families.crowded_valley_quadratic import CrowdedValleyQuadratic
from tasks.families.graph_classifier import GraphClassifier
from tasks.families.mlp_classifier import MLPClassifier
from tasks.families.mlp_mixer import MLPMixer
from tasks.families.resnet_classifier import ResNetClassifier
from tasks.families.rnn_language_model import RNNLanguageModel
from tasks.families.sequence_labeller import SequenceLabeller
from tasks.families.sequence_to_sequence import SequenceToSequence
from tasks.families.teacher_regression import TeacherRegression
from tasks.families.transformer_language_model import TransformerLanguageModel
from tasks.families.variational_autoencoder import VariationalAutoencoder
from tasks.families.vision_transformer import VisionTransformer
from tasks.family import TaskFamily
from tasks.wrappers.changing import ChangingBatch, ChangingData, SilentStart
from tasks.wrappers.delayed_gradient import DelayedGradient
from tasks.wrappers.heavy_tailed_gradient import HeavyTailedGradient
from tasks.wrappers.normalized_gradient import NormalizedGradient
from tasks.wrappers.reduced_precision import ReducedPrecision
from tasks.wrappers.reparametrized import Reparametrized
from tasks.wrappers.rescaled_loss import RescaledLoss
from tasks.wrappers.spiked_gradient import SpikedGradient
from tasks.wrappers.subsampled_gradient import SubsampledGradient
from tasks.wrappers.uneven_gradient import UnevenGradient
from tasks.wrappers.zero_start import ZeroStart


@dataclasses.dataclass(frozen=True)
class FixedTask:
    """A family trained for a given number of steps."""

    name: str
    family: TaskFamily
    num_steps: int

    def __post_init__(self):
        if self.num_steps < 1:
            raise ValueError(f"FixedTask: num_steps must be at least 1, got {self.num_steps}")


@dataclasses.dataclass(frozen=True)
class Suite:
    """Fixed tasks, and the name that files and commands use: a name of `SUITES`, or `module:attribute`."""

    name: str
    tasks: tuple[FixedTask, ...]

    def __post_init__(self):
        names = [task.name for task in self.tasks]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"Suite: {self.name} needs one task at least, each of a name of its own, got {names}")

    def __str__(self) -> str:
        return self.name


DEMO = (
    FixedTask("autoencoder_flower_small", Autoencoder(dataset="flower", widths=(64, 16)), 500),
    FixedTask("mlp_breast_cancer", MLPClassifier(dataset="breast_cancer", widths=(64, 64), activation="tanh"), 300),
    FixedTask("transformer_source_small", TransformerLanguageModel(dataset="python_source"), 500),
)
"""Three quick tasks for examples."""

HOLDOUT_SMALL = (
    FixedTask("autoencoder_china", Autoencoder(dataset="china", widths=(128, 32)), 1000),
    FixedTask(
        "click_rare_tokens",
        ClickModel(num_fields=6, vocabulary_size=1024, embedding_size=12, dense_size=12, width=48, batch_size=128),
        1500,
    ),
    FixedTask("conv_china", ConvClassifier(dataset="china", channels=(12, 24, 24), stride=2, activation="gelu"), 1000),
    FixedTask(
        "deep_mlp_china",
        MLPClassifier(dataset="china", widths=(48,) * 5, activation="tanh", initializer="glorot_normal"),
        1500,
    ),
    FixedTask("graph_kinds", GraphClassifier(width=24, num_rounds=3), 1000),
    FixedTask("gru_labeller", SequenceLabeller(num_frames=24, frame_size=12, num_classes=24, width=48), 1000),
    FixedTask("lstm_source", RNNLanguageModel(dataset="python_source", cell="lstm", context=20, width=48), 1000),
    FixedTask(
        "mixer_china", MLPMixer(dataset="china", patch_size=3, width=24, patch_mlp_width=24, channel_mlp_width=48), 1000
    ),
    FixedTask("resnet_china", ResNetClassifier(dataset="china", channels=(8, 16), stride=2), 500),
    FixedTask(
        "teacher_deep",
        TeacherRegression(
            input_size=24, output_size=6, teacher_width=48, teacher_depth=4, teacher_norm=True, widths=(96, 96)
        ),
        2000,
    ),
    FixedTask(
        "transformer_bytes",
        TransformerLanguageModel(dataset="python_bytes", context=20, width=24, num_heads=3),
        1000,
    ),
    FixedTask(
        "transformer_source",
        TransformerLanguageModel(dataset="python_source", context=24, width=48, num_heads=4, depth=2),
        1000,
    ),
    FixedTask("translation", SequenceToSequence(vocabulary_size=48, length=6, width=48, num_heads=3), 1000),
    FixedTask(
        "vae_china", VariationalAutoencoder(dataset="china", widths=(96,), latent_size=12, activation="gelu"), 1000
    ),
    FixedTask(
        "vit_china", VisionTransformer(dataset="china", patch_size=3, width=24, num_heads=3, depth=2), 1000
    ),
)  # fmt: skip
"""Reported on: patches of one photograph, source code, and architectures in sizes that no mixture samples."""

META_VALID_11 = (
    FixedTask("autoencoder_flower", Autoencoder(dataset="flower", widths=(96, 24), activation="gelu"), 500),
    FixedTask(
        "click_three_fields",
        ClickModel(num_fields=3, vocabulary_size=512, embedding_size=6, dense_size=6, width=24),
        500,
    ),
    FixedTask("conv_flower", ConvClassifier(dataset="flower", channels=(12, 24), stride=2), 500),
    FixedTask("gru_markov", RNNLanguageModel(dataset="markov_text", cell="gru", context=12, width=24), 500),
    FixedTask("labeller_short", SequenceLabeller(num_frames=12, frame_size=12, num_classes=12, width=24), 1000),
    FixedTask("mlp_flower", MLPClassifier(dataset="flower", widths=(48, 48, 48), activation="silu"), 500),
    FixedTask("mlp_spirals", MLPClassifier(dataset="spirals", widths=(48, 48), activation="tanh"), 1000),
    FixedTask(
        "teacher_narrow",
        TeacherRegression(input_size=12, output_size=3, teacher_width=24, teacher_depth=3, widths=(24, 24, 24)),
        1000,
    ),
    FixedTask("transformer_markov", TransformerLanguageModel(dataset="markov_text", context=12, width=24), 500),
    FixedTask("vae_flower", VariationalAutoencoder(dataset="flower", widths=(48,), latent_size=6), 500),
    FixedTask("vit_flower", VisionTransformer(dataset="flower", patch_size=2, width=24, num_heads=2), 500),
)
"""The tasks of `meta_valid` before the five below were added; older results are over these eleven."""

META_VALID = (
    *META_VALID_11,
    FixedTask(
        "click_small_batch",
        ClickModel(num_fields=5, vocabulary_size=1536, embedding_size=10, width=40, batch_size=12),
        1000,
    ),
    FixedTask("deep_mlp_flower", MLPClassifier(dataset="flower", widths=(24,) * 24), 1000),
    FixedTask(
        "graph_structures",
        GraphClassifier(dataset="structured_graphs", width=20, num_rounds=4, activation="gelu"),
        1000,
    ),
    FixedTask(
        "lstm_markov",
        RNNLanguageModel(dataset="markov_text", cell="lstm", context=20, embedding_size=12, width=40),
        1000,
    ),
    FixedTask("mlp_flower_long", MLPClassifier(dataset="flower", widths=(40, 40), activation="gelu"), 5000),
)
"""Every choice during meta-training is made on these, so that the reported suites stay unseen."""

STRETCH = (
    FixedTask("autoencoder_china_wide", Autoencoder(dataset="china", widths=(640, 320)), 10_000),
    FixedTask(
        "click_wide", ClickModel(num_fields=8, vocabulary_size=2560, embedding_size=80, width=320), 10_000
    ),
    FixedTask("mlp_china_wide", MLPClassifier(dataset="china", widths=(640, 640)), 10_000),
    FixedTask("teacher_wide", TeacherRegression(input_size=64, teacher_width=64, widths=(640, 640)), 10_000),
    FixedTask(
        "transformer_source_wide",
        TransformerLanguageModel(dataset="python_source", width=320, num_heads=10, depth=2),
        10_000,
    ),
)  # fmt: skip
"""Ten times the greatest number of steps and width that the preset `laptop` meta-trains on."""

_PLAIN = MLPClassifier(dataset="china", widths=(64, 64))

ROBUSTNESS = (
    FixedTask("plain", _PLAIN, 1000),
    FixedTask("bad_batches", SpikedGradient(_PLAIN), 1000),
    FixedTask("batch_of_2", MLPClassifier(dataset="china", widths=(64, 64), batch_size=2), 1000),
    FixedTask("batch_of_1024", MLPClassifier(dataset="china", widths=(64, 64), batch_size=1024), 1000),
    FixedTask("bfloat16", ReducedPrecision(_PLAIN, min_bits=7, max_bits=7), 1000),
    FixedTask("deep", MLPClassifier(dataset="china", widths=(32,) * 30, norm="layer"), 1000),
    FixedTask("late_gradients", DelayedGradient(_PLAIN), 1000),
    FixedTask("noisy_gradients", SubsampledGradient(_PLAIN), 1000),
    FixedTask("normalized_gradients", NormalizedGradient(_PLAIN), 1000),
    FixedTask("rescaled_weights", Reparametrized(_PLAIN, "global", decades=3.0), 1000),
    FixedTask("rescaled_tensors", Reparametrized(_PLAIN, "tensor", decades=1.0), 1000),
    FixedTask("sparse_gradients", ClickModel(num_fields=6, vocabulary_size=1024, width=48, batch_size=4), 1000),
    FixedTask("loss_constant", RescaledLoss(_PLAIN, factor=0.0, offset=1.0), 1000),
    FixedTask("loss_negative", RescaledLoss(_PLAIN, offset=-10.0), 1000),
    FixedTask("loss_huge", RescaledLoss(_PLAIN, factor=1e8), 1000),
    FixedTask("loss_tiny", RescaledLoss(_PLAIN, factor=1e-12), 1000),
    FixedTask("loss_shifted", RescaledLoss(_PLAIN, offset=1e6), 1000),
    FixedTask("silent_start", SilentStart(_PLAIN, silent_steps=1000), 2000),
    FixedTask("uneven_layers", UnevenGradient(_PLAIN, factor=1e6), 1000),
    FixedTask("zero_parameters", ZeroStart(MLPClassifier(dataset="china", widths=())), 1000),
    FixedTask("changing_batch", ChangingBatch(_PLAIN, min_share=1 / 32, change_step=500), 1000),
    FixedTask("changing_data", ChangingData(TeacherRegression(widths=(64, 64)), num_phases=4, phase_steps=250), 1000),
    FixedTask("heavy_tailed_noise", HeavyTailedGradient(_PLAIN), 1000),
)  # fmt: skip
"""A small classifier, and a few other networks, under conditions that no mixture without augmentations samples."""

PUBLIC = tuple(FixedTask(name, family, public.NUM_STEPS) for name, family in sorted(public.FAMILIES.items()))
"""Google's fixed tasks; they need data sets that have to be downloaded."""

VELODROME = tuple(FixedTask(*task) for task in velodrome.TASKS)
"""Reported on: 83 small tasks of twenty kinds, modelled on the VeLOdrome of the VeLO paper (2211.09760)."""

CROWDED_VALLEY = (FixedTask("crowded_valley_quadratic", CrowdedValleyQuadratic(), 700),)
"""The problem of 2007.01547 that needs no download, with the published number of steps."""

TASKS = {
    task.name: task
    for suite in (DEMO, HOLDOUT_SMALL, META_VALID, STRETCH, ROBUSTNESS, VELODROME, PUBLIC, CROWDED_VALLEY)
    for task in suite
}


def _names(tasks: tuple[FixedTask, ...]) -> tuple[str, ...]:
    return tuple(task.name for task in tasks)


SUITES = {
    "crowded_valley": _names(CROWDED_VALLEY),
    "demo": _names(DEMO),
    "holdout_quick": ("autoencoder_china", "click_rare_tokens", "conv_china", "transformer_source"),
    "holdout_small": _names(HOLDOUT_SMALL),
    "meta_valid": _names(META_VALID),
    "meta_valid_11": _names(META_VALID_11),
    "public": _names(PUBLIC),
    "robustness": _names(ROBUSTNESS),
    "stretch": _names(STRETCH),
    "velodrome": _names(VELODROME),
}
"""Suite -> names of its tasks."""


def get_suite(name: str) -> list[FixedTask]:
    """The tasks of a bundled suite.

    Raises:
        ValueError: there is no suite of that name.
    """
    if name not in SUITES:
        raise ValueError(f"unknown suite {name!r}; known: {', '.join(sorted(SUITES))}")
    return [TASKS[task] for task in SUITES[name]]
