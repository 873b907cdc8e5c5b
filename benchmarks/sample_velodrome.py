"""Samples the tasks of `velodrome`: prints the table of `tasks/velodrome.py`, the same at every call.

The ranges are separate from those of the mixtures, so that the table doesn't change when a mixture does. Widths, batch
sizes and contexts are not powers of two, while those of every mixture are. Stored data sets are those of evaluation.
Networks that no optimizer can train are not sampled: deep ones have neither small initial weights nor sigmoids.
Usage: PYTHONPATH=. python benchmarks/sample_velodrome.py
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from tasks.families.autoencoder import Autoencoder
from tasks.families.bottleneck_resnet import BottleneckResNet
from tasks.families.classical_function import ClassicalFunction
from tasks.families.click_model import ClickModel
from tasks.families.conv_classifier import ConvClassifier
from tasks.families.graph_classifier import GraphClassifier
from tasks.families.learned_optimizer_training import LearnedOptimizerTraining
from tasks.families.mlp_classifier import MLPClassifier
from tasks.families.mlp_language_model import MLPLanguageModel
from tasks.families.mlp_mixer import MLPMixer
from tasks.families.optimizer_unroll import OptimizerUnroll
from tasks.families.quadratic import Quadratic
from tasks.families.resnet_classifier import ResNetClassifier
from tasks.families.rnn_language_model import RNNLanguageModel
from tasks.families.sampling import SAMPLED_NORMS, choice
from tasks.families.sequence_labeller import SequenceLabeller
from tasks.families.sequence_to_sequence import SequenceToSequence
from tasks.families.teacher_regression import TeacherRegression
from tasks.families.transformer_language_model import TransformerLanguageModel
from tasks.families.variational_autoencoder import VariationalAutoencoder
from tasks.families.vision_transformer import VisionTransformer
from tasks.family import TaskFamily
from tasks.learned_adam import LearnedAdam
from tasks.learned_mlp import LearnedMLP

SEED = 83
STEPS = (500, 1000, 1000, 2000, 3000)
IMAGES = ("china", "china", "shapes")
TABLES = ("breast_cancer", "wine", "iris")
TEXTS = ("python_source", "python_bytes", "unicode_names", "modular_addition")
WIDTHS = (12, 20, 24, 40, 48, 56, 80, 96)
NARROW = (6, 10, 12, 20, 24)
BATCHES = (12, 20, 24, 40, 48, 96)
CONTEXTS = (10, 12, 20, 24)
PATCHES = {"china": (2, 3, 4), "shapes": (2, 5)}
ACTIVATIONS = ("gelu", "leaky_relu", "relu", "silu", "tanh")
"""sigmoid is for one hidden layer only."""
INITIALIZERS = ("glorot_normal", "he_normal", "lecun_normal")
"""small_normal is for one hidden layer only."""
FUNCTIONS = ("griewank", "levy", "rastrigin", "rosenbrock", "styblinski_tang", "zakharov")
OBJECTIVES = ("cross_entropy", "cross_entropy", "cross_entropy", "squared_error")


def _mlp(rng):
    depth = choice(rng, (1, 2, 3, 5, 8))
    return MLPClassifier(
        dataset=choice(rng, (*IMAGES, *TABLES)),
        widths=(choice(rng, WIDTHS),) * depth,
        activation=choice(rng, ACTIVATIONS if depth > 1 else (*ACTIVATIONS, "sigmoid")),
        initializer=choice(rng, INITIALIZERS if depth > 1 else (*INITIALIZERS, "small_normal")),
        norm=choice(rng, SAMPLED_NORMS),
        dropout=choice(rng, (0.0, 0.0, 0.0, 0.1)),
        batch_size=choice(rng, BATCHES),
        objective=choice(rng, OBJECTIVES),
    )


def _conv(rng):
    return ConvClassifier(
        dataset=choice(rng, IMAGES),
        channels=tuple(sorted(choice(rng, (6, 10, 12, 20)) for _ in range(choice(rng, (2, 3, 4))))),
        kernel_size=choice(rng, (3, 3, 5)),
        stride=2,
        activation=choice(rng, ACTIVATIONS),
        initializer=choice(rng, INITIALIZERS),
        norm=choice(rng, SAMPLED_NORMS),
        batch_size=choice(rng, (12, 20, 24)),
        objective=choice(rng, OBJECTIVES),
    )


def _resnet(rng):
    width = choice(rng, (6, 10, 12))
    return ResNetClassifier(
        dataset=choice(rng, IMAGES),
        channels=(width, 2 * width)[: choice(rng, (1, 2))],
        blocks_per_stage=choice(rng, (1, 2)),
        stride=2,
        initializer=choice(rng, INITIALIZERS),
        batch_size=choice(rng, (10, 12, 20)),
        norm=choice(rng, ("layer", "rms", "batch")),
    )


def _bottleneck(rng):
    channels = choice(rng, ((12, 24), (20, 40), (12, 24, 24)))
    return BottleneckResNet(
        dataset=choice(rng, IMAGES),
        channels=channels,
        blocks=(1,) * len(channels),
        first_channels=choice(rng, (6, 12)),
        max_pool=False,
        batch_size=choice(rng, (12, 20, 24)),
    )


def _vision_transformer(rng):
    dataset = choice(rng, IMAGES)
    return VisionTransformer(
        dataset=dataset,
        patch_size=choice(rng, PATCHES[dataset][1:]),
        width=choice(rng, (12, 24, 48)),
        num_heads=choice(rng, (1, 3)),
        depth=choice(rng, (1, 2, 3)),
        initializer=choice(rng, INITIALIZERS),
        batch_size=choice(rng, (10, 12, 20)),
        objective=choice(rng, OBJECTIVES),
    )


def _mixer(rng):
    dataset = choice(rng, IMAGES)
    return MLPMixer(
        dataset=dataset,
        patch_size=choice(rng, PATCHES[dataset]),
        width=choice(rng, NARROW),
        patch_mlp_width=choice(rng, NARROW),
        channel_mlp_width=choice(rng, (24, 40, 48)),
        depth=choice(rng, (1, 2, 3)),
        initializer=choice(rng, INITIALIZERS),
        batch_size=choice(rng, (10, 12, 20)),
        objective=choice(rng, OBJECTIVES),
    )


def _autoencoder(rng):
    width = choice(rng, (40, 48, 80, 96))
    return Autoencoder(
        dataset=choice(rng, (*IMAGES, "breast_cancer")),
        widths=(width, width // 2, width // 4)[: choice(rng, (1, 2, 3))],
        activation=choice(rng, ACTIVATIONS),
        initializer=choice(rng, INITIALIZERS),
        batch_size=choice(rng, BATCHES),
    )


def _variational(rng):
    return VariationalAutoencoder(
        dataset=choice(rng, IMAGES),
        widths=(choice(rng, WIDTHS),) * choice(rng, (1, 2)),
        latent_size=choice(rng, (3, 6, 12)),
        activation=choice(rng, ACTIVATIONS),
        initializer=choice(rng, INITIALIZERS),
        batch_size=choice(rng, BATCHES),
    )


def _mlp_language_model(rng):
    return MLPLanguageModel(
        dataset=choice(rng, TEXTS),
        context=choice(rng, (3, 5, 6)),
        embedding_size=choice(rng, NARROW),
        width=choice(rng, WIDTHS),
        activation=choice(rng, (*ACTIVATIONS, "sigmoid")),
        initializer=choice(rng, (*INITIALIZERS, "small_normal")),
        batch_size=choice(rng, BATCHES),
    )


def _rnn(rng):
    return RNNLanguageModel(
        dataset=choice(rng, TEXTS),
        cell=choice(rng, ("gru", "irnn", "lstm", "vanilla")),
        context=choice(rng, CONTEXTS),
        embedding_size=choice(rng, NARROW),
        width=choice(rng, (20, 24, 40, 48)),
        initializer=choice(rng, INITIALIZERS),
        batch_size=choice(rng, (10, 12, 20)),
        learned_start=choice(rng, (False, False, True)),
    )


def _transformer(rng):
    return TransformerLanguageModel(
        dataset=choice(rng, TEXTS),
        context=choice(rng, CONTEXTS),
        width=choice(rng, (12, 24, 48)),
        num_heads=choice(rng, (1, 3)),
        depth=choice(rng, (1, 2, 3)),
        initializer=choice(rng, INITIALIZERS),
        batch_size=choice(rng, (6, 10, 12)),
        dropout=choice(rng, (0.0, 0.0, 0.0, 0.1)),
    )


def _labeller(rng):
    return SequenceLabeller(
        cell=choice(rng, ("gru", "irnn", "lstm", "vanilla")),
        num_frames=choice(rng, CONTEXTS),
        frame_size=choice(rng, (6, 10, 12)),
        num_classes=choice(rng, (3, 6, 12)),
        width=choice(rng, (20, 24, 40, 48)),
        initializer=choice(rng, INITIALIZERS),
        batch_size=choice(rng, (10, 12, 20)),
    )


def _translation(rng):
    return SequenceToSequence(
        vocabulary_size=choice(rng, (12, 20, 24, 40)),
        length=choice(rng, (3, 5, 6)),
        width=choice(rng, (12, 24, 48)),
        num_heads=choice(rng, (1, 3)),
        initializer=choice(rng, INITIALIZERS),
        batch_size=choice(rng, (10, 12, 20)),
    )


def _click(rng):
    return ClickModel(
        num_fields=choice(rng, (3, 5, 6)),
        vocabulary_size=choice(rng, (100, 384, 768)),
        embedding_size=choice(rng, (3, 6, 10)),
        dense_size=choice(rng, (5, 6, 12)),
        width=choice(rng, NARROW),
        activation=choice(rng, ACTIVATIONS),
        initializer=choice(rng, INITIALIZERS),
        batch_size=choice(rng, BATCHES),
    )


def _teacher(rng):
    depth = choice(rng, (1, 2, 3, 5))
    return TeacherRegression(
        input_size=choice(rng, NARROW),
        output_size=choice(rng, (1, 3, 6)),
        teacher_width=choice(rng, (12, 24, 40)),
        teacher_depth=choice(rng, (1, 2, 3)),
        teacher_activation=choice(rng, ACTIVATIONS),
        teacher_norm=choice(rng, (False, True)),
        widths=(choice(rng, WIDTHS),) * depth,
        activation=choice(rng, ACTIVATIONS if depth > 1 else (*ACTIVATIONS, "sigmoid")),
        initializer=choice(rng, INITIALIZERS if depth > 1 else (*INITIALIZERS, "small_normal")),
        norm=choice(rng, SAMPLED_NORMS),
        batch_size=choice(rng, BATCHES),
        objective=choice(rng, ("squared_error", "squared_error", "squared_error", "huber")),
    )


def _graph(rng):
    return GraphClassifier(
        width=choice(rng, (10, 12, 20)),
        num_rounds=choice(rng, (2, 3, 4, 5)),
        activation=choice(rng, ACTIVATIONS),
        initializer=choice(rng, INITIALIZERS),
        batch_size=choice(rng, (10, 12)),
    )


def _learned_optimizer(rng):
    return LearnedOptimizerTraining(
        width=choice(rng, NARROW),
        depth=choice(rng, (1, 2)),
        activation=choice(rng, ACTIVATIONS),
        initializer=choice(rng, INITIALIZERS),
        problem_size=choice(rng, (5, 6, 10, 12)),
        unroll_steps=choice(rng, (5, 6, 10)),
        batch_size=choice(rng, (5, 6)),
    )


def _unroll(rng):
    inner = MLPClassifier(dataset=choice(rng, ("shapes", *TABLES)), widths=(choice(rng, (6, 10)),), batch_size=12)
    optimizer = choice(rng, (LearnedAdam(), LearnedMLP(width=12, depth=1)))
    return OptimizerUnroll(inner, optimizer, num_steps=choice(rng, (5, 6, 10)))


def _quadratic(rng):
    return Quadratic(size=choice(rng, (20, 100, 300)), num_reflections=choice(rng, (1, 3)))


def _function(rng):
    return ClassicalFunction(function=choice(rng, FUNCTIONS), size=choice(rng, (3, 12, 40)))


KINDS: tuple[tuple[str, int, Callable[[np.random.Generator], TaskFamily]], ...] = (
    ("mlp", 9, _mlp),
    ("conv", 6, _conv),
    ("resnet", 4, _resnet),
    ("bottleneck", 2, _bottleneck),
    ("vit", 4, _vision_transformer),
    ("mixer", 4, _mixer),
    ("autoencoder", 6, _autoencoder),
    ("vae", 5, _variational),
    ("mlp_text", 4, _mlp_language_model),
    ("rnn", 6, _rnn),
    ("transformer", 6, _transformer),
    ("labeller", 4, _labeller),
    ("translation", 4, _translation),
    ("click", 4, _click),
    ("teacher", 5, _teacher),
    ("graph", 3, _graph),
    ("learned_optimizer", 3, _learned_optimizer),
    ("unroll", 2, _unroll),
    ("quadratic", 1, _quadratic),
    ("function", 1, _function),
)
"""Name, number of tasks, sampler."""


def sample() -> list[tuple[str, TaskFamily, int]]:
    """(name, family, number of steps) of the 83 tasks, no two alike."""
    rng = np.random.default_rng(SEED)
    tasks: list[tuple[str, TaskFamily, int]] = []
    for kind, number, sampler in KINDS:
        for _ in range(number):
            family, num_steps = sampler(rng), choice(rng, STEPS)
            parts = [f"v{len(tasks) + 1:02d}", kind, *([family.dataset] if family.dataset != "none" else [])]
            tasks.append(("_".join(parts), family, num_steps))
    assert len({family for _, family, _ in tasks}) == len(tasks)
    return tasks


def _words(value) -> str:
    """The source text of a family, without the fields that have their default values."""
    if not dataclasses.is_dataclass(value):
        return repr(value)
    fields = [field for field in dataclasses.fields(value) if getattr(value, field.name) != field.default]
    given = ", ".join(f"{field.name}={_words(getattr(value, field.name))}" for field in fields)
    return f"{type(value).__name__}({given})"


def main():
    for name, family, num_steps in sample():
        print(f'    ("{name}", {_words(family)}, {num_steps}),'.replace("'", '"'))


if __name__ == "__main__":
    main()
