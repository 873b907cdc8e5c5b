"""The fixed tasks of google's learned_optimization under their public names, as instances of our families.

Source: learned_optimization/tasks/fixed. Architectures, batch sizes, losses and data sets are theirs. Deviations:

- Initialisers and the standard deviations of embeddings are ours.
- Images have pixels in [-1, 1], which makes the squared errors of autoencoders four times theirs.
- Text has no padding, and the vocabulary of the names with 32k is our own (`tasks.data.downloads.words`).
- Transformers learn embeddings of positions. Vision transformers average the patches in place of a class token.
- LOptPES_* are missing: besides the parameters, they carry a state from step to step.
"""

from typing import Any

from tasks.families.autoencoder import Autoencoder
from tasks.families.bottleneck_resnet import BottleneckResNet
from tasks.families.conv_classifier import ConvClassifier
from tasks.families.mlp_classifier import MLPClassifier
from tasks.families.mlp_mixer import MLPMixer
from tasks.families.optimizer_unroll import OptimizerUnroll
from tasks.families.rnn_language_model import RNNLanguageModel
from tasks.families.transformer_language_model import TransformerLanguageModel
from tasks.families.vision_transformer import VisionTransformer
from tasks.family import TaskFamily
from tasks.learned_adam import LearnedAdam
from tasks.learned_mlp import LearnedMLP
from tasks.wrappers.evolution_gradient import EvolutionGradient
from tasks.wrappers.undisturbed import Undisturbed
from velo.architectures import AdafacMLP

NUM_STEPS = 10_000
"""As in the reference's own evaluation."""


def _mlp(dataset: str, *widths: int, batch_size: int = 128, **fields: Any) -> TaskFamily:
    return MLPClassifier(dataset, widths, initializer="lecun_normal", batch_size=batch_size, **fields)


IMAGE_MLPS = {
    "Cifar10BW8_Relu32": _mlp("cifar10_grey_8", 32),
    "Cifar10_1024x1024_Relu": _mlp("cifar10", 1024, 1024),
    "Cifar10_128x128_Dropout02_Relu_MSE": _mlp("cifar10", 128, 128, dropout=0.2, objective="squared_error"),
    "Cifar10_128x128_Dropout05_Relu_MSE": _mlp("cifar10", 128, 128, dropout=0.5, objective="squared_error"),
    "Cifar10_128x128_Dropout08_Relu_MSE": _mlp("cifar10", 128, 128, dropout=0.8, objective="squared_error"),
    "Cifar10_128x128x128_BatchNorm_Relu": _mlp("cifar10", 128, 128, 128, norm="batch"),
    "Cifar10_128x128x128_BatchNorm_Tanh": _mlp("cifar10", 128, 128, 128, norm="batch", activation="tanh"),
    "Cifar10_128x128x128_LayerNorm_Relu": _mlp("cifar10", 128, 128, 128, norm="layer"),
    "Cifar10_128x128x128_LayerNorm_Tanh": _mlp("cifar10", 128, 128, 128, norm="layer", activation="tanh"),
    "Cifar10_128x128x128_Relu": _mlp("cifar10", 128, 128, 128),
    "Cifar10_128x128x128_Relu_MSE": _mlp("cifar10", 128, 128, 128, objective="squared_error"),
    "Cifar10_128x128x128_Tanh_bs128": _mlp("cifar10", 128, 128, 128, activation="tanh"),
    "Cifar10_128x128x128_Tanh_bs256": _mlp("cifar10", 128, 128, 128, activation="tanh", batch_size=256),
    "Cifar10_128x128x128_Tanh_bs64": _mlp("cifar10", 128, 128, 128, activation="tanh", batch_size=64),
    "Cifar10_16384x16384_Relu": _mlp("cifar10", 16384, 16384),
    "Cifar10_256x256_Relu": _mlp("cifar10", 256, 256),
    "Cifar10_256x256_Relu_BS32": _mlp("cifar10", 256, 256, batch_size=32),
    "Cifar10_4096x4096_Relu": _mlp("cifar10", 4096, 4096),
    "Cifar10_8192x8192_Relu": _mlp("cifar10", 8192, 8192),
    "Cifar10_8_Relu32": _mlp("cifar10_8", 32),
    "Cifar100_128x128x128_Relu": _mlp("cifar100", 128, 128, 128),
    "FashionMnist16_Relu32": _mlp("fashion_mnist_16", 32),
    "FashionMnist32_Relu32": _mlp("fashion_mnist_32", 32),
    "FashionMnist8_Relu32": _mlp("fashion_mnist_8", 32),
    "FashionMnist_Relu128x128": _mlp("fashion_mnist", 128, 128),
    "Imagenet16_Relu256x256x256": _mlp("imagenet16", 256, 256, 256),
    "Mnist_128x128x128_Relu": _mlp("mnist", 128, 128, 128),
}


def _autoencoder(dataset: str, *widths: int, batch_size: int = 128) -> TaskFamily:
    return Autoencoder(dataset, widths, initializer="lecun_normal", batch_size=batch_size, bounded=True)


AUTOENCODERS = {
    "Cifar10_128x32x128_bs256": _autoencoder("cifar10", 128, 32, batch_size=256),
    "Cifar10_256x256x256_bs1024": _autoencoder("cifar10", 256, 256, batch_size=1024),
    "Cifar10_256x256x256_bs128": _autoencoder("cifar10", 256, 256),
    "Cifar10_32x32x32_bs128": _autoencoder("cifar10", 32, 32),
    "FashionMnist_128x32x128_bs128": _autoencoder("fashion_mnist", 128, 32),
    "Mnist_128x32x128_bs128": _autoencoder("mnist", 128, 32),
}


def _conv(dataset: str, *channels: int, batch_size: int = 128, **fields: Any) -> TaskFamily:
    initializer = "lecun_normal"
    return ConvClassifier(
        dataset, channels, stride=2, later_stride=1, initializer=initializer, batch_size=batch_size, **fields
    )


CONVS = {
    "Cifar100_32x64x64": _conv("cifar100", 32, 64, 64),
    "Cifar100_32x64x64_BS32": _conv("cifar100", 32, 64, 64, batch_size=32),
    "Cifar100_32x64x64_Tanh": _conv("cifar100", 32, 64, 64, activation="tanh"),
    "Cifar10_16_32x64x64": _conv("cifar10_16", 32, 64, 64),
    "Cifar10_32x64x64": _conv("cifar10", 32, 64, 64),
    "Cifar10_32x64x64_Tanh": _conv("cifar10", 32, 64, 64, activation="tanh"),
    "Cifar10_32x64x64_batchnorm": _conv("cifar10", 32, 64, 64, norm="batch"),
    "Cifar10_32x64x64_layernorm": _conv("cifar10", 32, 64, 64, norm="layer"),
    "Cifar10_8_16x32": _conv("cifar10_8", 16, 32),
    "imagenet16_16_64x128x128x128": _conv("imagenet16", 64, 128, 128, 128),
    "imagenet32_16_32x64x64": _conv("imagenet32", 32, 64, 64),
}

PATCH_DATASETS = {"Cifar100": "cifar100", "Food101_64": "food101_64", "ImageNet64": "imagenet64"}

VISION_TRANSFORMERS = {
    f"{name}_{shape}": VisionTransformer(dataset, 16, width, num_heads, depth, batch_size=128)
    for name, dataset in PATCH_DATASETS.items()
    for shape, width, num_heads, depth in (("skinnydeep", 128, 4, 10), ("wideshallow", 384, 6, 6))
}

MIXERS = {
    f"{name}_{shape}": MLPMixer(dataset, 16, width, 384, 4 * width, depth, batch_size=batch_size)
    for name, dataset in PATCH_DATASETS.items()
    for shape, width, depth, batch_size in (("bs256_tiny16", 512, 5, 256), ("small16", 768, 8, 128),
                                            ("tiny16", 512, 5, 128))
}  # fmt: skip

RESNET_ROWS = (
    (16, 64, (8, 16, 16, 16), (1, 1, 1, 1), 3, True),
    (16, 64, (8, 16, 16, 32), (1, 1, 1, 1), 3, True),
    (16, 64, (64, 128, 128, 128), (1, 1, 1, 1), 3, True),
    (16, 192, (64, 128, 256, 512), (1, 1, 1, 1), 5, True),
    (16, 192, (128, 256, 512, 512), (1, 1, 1, 1), 5, True),
    (32, 128, (128, 256, 512, 512), (1, 1, 1, 1), 5, True),
    (32, 256, (128, 256, 512, 512), (1, 1, 1, 1), 3, True),
    (32, 256, (256, 512, 512, 1024), (1, 1, 1, 1), 5, True),
    (64, 256, (256, 512, 1024, 1024), (1, 1, 1, 1), 3, True),
    (64, 256, (256, 512, 1024, 1024), (1, 2, 4, 5), 3, True),
    (64, 256, (256, 512, 1024, 1024), (1, 1, 3, 4), 5, False),
)
"""Image size, batch size, channels, blocks, size of the first kernel, max pooling."""

RESNETS = {
    f"MultiRuntime_{number}": BottleneckResNet(
        f"imagenet{size}", channels, blocks, first_kernel_size=kernel, max_pool=max_pool, batch_size=batch_size
    )
    for number, (size, batch_size, channels, blocks, kernel, max_pool) in enumerate(RESNET_ROWS)
}

RNN_ROWS = (
    ("lm1bbytes", 32, "IRNN", 128),
    ("lm1bbytes", 32, "LSTM", 128),
    ("lm1bbytes", 32, "GRU", 128),
    ("lm1bbytes", 32, "VanillaRNN", 128),
    ("lm1bbytes", 128, "LSTM", 128),
    ("lm1bbytes", 32, "LSTM", 256),
    ("lm1bbytes", 32, "GRU", 256),
    ("lm1b32k", 32, "VanillaRNN", 256),
    ("lm1b32k", 32, "LSTM", 256),
    ("lm1b32k", 32, "IRNN", 256),
    ("wikipediaen32k", 32, "LSTM", 256),
    ("wikipediaen32k", 32, "GRU", 256),
    ("wikipediaenbytes", 32, "LSTM", 256),
    ("wikipediaenbytes", 32, "GRU", 256),
)
"""Text, context, cell, width; embeddings have half the width, and batches have 128 windows."""
TEXTS = {"lm1bbytes": "lm1b", "lm1b32k": "lm1b_words", "wikipediaenbytes": "wikipedia",
         "wikipediaen32k": "wikipedia_words"}  # fmt: skip
CELLS = {"IRNN": "irnn", "LSTM": "lstm", "GRU": "gru", "VanillaRNN": "vanilla"}

RNNS = {
    f"{name}_Patch{context}_{cell}{width}_Embed{width // 2}": RNNLanguageModel(
        TEXTS[name], CELLS[cell], context, width // 2, width, batch_size=128, learned_start=True
    )
    for name, context, cell, width in RNN_ROWS
}

TRANSFORMER_ROWS = (
    (20, 5, 1, 8, 4, 0.1),
    (24, 6, 1, 8, 4, 0.1),
    (32, 4, 2, 8, 8, 0.0),
    (32, 4, 1, 16, 8, 0.0),
    (32, 4, 2, 4, 16, 0.0),
    (32, 4, 1, 32, 8, 0.0),
    (80, 5, 1, 64, 4, 0.0),
    (112, 7, 3, 32, 16, 0.0),
    (128, 4, 1, 32, 64, 0.0),
    (256, 4, 2, 64, 64, 0.0),
    (256, 4, 3, 64, 128, 0.0),
    (304, 19, 2, 32, 256, 0.0),
)
"""Width, number of heads (of size 32), depth, context, batch size, dropout."""


def _transformer(
    width: int, num_heads: int, depth: int, context: int, batch_size: int, dropout: float
) -> TransformerLanguageModel:
    return TransformerLanguageModel(
        "lm1b_words", context, width, num_heads, depth, batch_size=batch_size, head_size=32, dropout=dropout
    )


TRANSFORMERS = {f"MultiRuntime_{number}": _transformer(*row) for number, row in enumerate(TRANSFORMER_ROWS)} | {
    f"5layer_{width}width": _transformer(width, 8, 5, 128, 32, 0.1) for width in (32, 128, 256, 512)
}

# "FahionMnist" is how the reference spells it.
OPTIMIZER_UNROLLS = {
    "AdafacMLPLOpt_Cifar10_8_10": (CONVS["Cifar10_8_16x32"], AdafacMLP(), 10),
    "AdafacMLPLOpt_FashionMnist_20": (IMAGE_MLPS["FashionMnist8_Relu32"], AdafacMLP(), 20),
    "AdafacMLPLOpt_FashionMnist_50": (IMAGE_MLPS["FashionMnist8_Relu32"], AdafacMLP(), 50),
    "LearnableAdam_Cifar10_8_200": (CONVS["Cifar10_8_16x32"], LearnedAdam(), 200),
    "LearnableAdam_Cifar10_8_50": (CONVS["Cifar10_8_16x32"], LearnedAdam(), 50),
    "MLPLOpt_Cifar10_16_10": (CONVS["Cifar10_16_32x64x64"], LearnedMLP(), 10),
    "MLPLOpt_Cifar10_8_50": (CONVS["Cifar10_8_16x32"], LearnedMLP(), 50),
    "MLPLOpt_FahionMnist_10": (IMAGE_MLPS["FashionMnist8_Relu32"], LearnedMLP(), 10),
    "MLPLOpt_FahionMnist_100": (IMAGE_MLPS["FashionMnist8_Relu32"], LearnedMLP(), 100),
    "MLPLOpt_FahionMnist_50": (IMAGE_MLPS["FashionMnist8_Relu32"], LearnedMLP(), 50),
}

PLAIN = {
    f"{prefix}_{name}": Undisturbed(family)
    for prefix, families in (
        ("Conv", CONVS),
        ("ImageMLP", IMAGE_MLPS),
        ("ImageMLPAE", AUTOENCODERS),
        ("MLPMixer", MIXERS),
        ("RNNLM", RNNS),
        ("Resnet", RESNETS),
        ("TransformerLM_LM1B", TRANSFORMERS),
        ("VIT", VISION_TRANSFORMERS),
    )
    for name, family in families.items()
} | {
    f"LOpt_{name}": OptimizerUnroll(Undisturbed(family), optimizer, num_steps)
    for name, (family, optimizer, num_steps) in OPTIMIZER_UNROLLS.items()
}


def _evolution(name: str, num_pairs: int) -> TaskFamily:
    return EvolutionGradient(PLAIN[name], num_pairs, min_deviation=0.01, max_deviation=0.01)


EVOLUTION_ROWS = (
    (1, "Cifar10BW8_Relu32"),
    (1, "Cifar10_128x128x128_Relu"),
    (1, "FashionMnist8_Relu32"),
    (1, "Mnist_128x128x128_Relu"),
    (8, "Cifar10_128x128x128_Relu"),
    (8, "Mnist_128x128x128_Relu"),
)

FAMILIES: dict[str, TaskFamily] = (
    PLAIN
    | {f"ESWrapped_{num}pair_ImageMLP_{name}": _evolution(f"ImageMLP_{name}", num) for num, name in EVOLUTION_ROWS}
    | {
        f"LOpt_ES4_{name}": _evolution(f"LOpt_{name.removeprefix('LOpt_')}", 4)
        for name in ("AdafacMLPLOpt_FashionMnist_20", "LOpt_MLPLOpt_Cifar10_16_10", "LOpt_MLPLOpt_FahionMnist_50")
    }
)
"""Public name -> family."""
