"""The data sets by name: what each is, and its loader of (training, validation) arrays."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from tasks.data import downloads, graphs, images, photographs, synthetic, tabular, text
from tasks.data.missing import MissingDataError


@dataclasses.dataclass(frozen=True)
class Source:
    """What is known of a data set before it is loaded."""

    kind: str
    """What the arrays are: `none`; `image` (bytes or floats, and labels); `table` (inputs and labels);
    `target` (inputs and real targets); `text` (one row of tokens); `graph` (adjacency and labels)."""
    load: Callable[[], Any]
    """Returns (training, validation) NumPy arrays."""
    input_shape: tuple[int, ...] = ()
    num_classes: int = 0
    """Number of classes, of targets, or of tokens in the vocabulary."""
    variance: float = 1.0
    """Variance of an input entry over the data set, averaged over entries: the squared error of the best constant."""
    is_downloaded: bool = False
    """Whether it comes from tensorflow-datasets."""


def _photograph(load: Callable[[str, int], Any], name: str, size: int) -> Source:
    loader = functools.partial(load, name, size)
    return Source("image", loader, (size, size, 3), photographs.NUM_REGIONS)


def _download(name: str, shape: tuple[int, int, int], num_classes: int, variance: float) -> Source:
    return Source(
        "image", functools.partial(downloads.images, name, shape), shape, num_classes, variance, is_downloaded=True
    )


def _articles(name: str) -> Source:
    return Source("text", functools.partial(downloads.articles, name), num_classes=text.NUM_BYTES, is_downloaded=True)


def _words(name: str) -> Source:
    return Source("text", functools.partial(downloads.words, name), num_classes=downloads.NUM_WORDS, is_downloaded=True)


SOURCES = {
    "none": Source("none", lambda: ((), ())),
    "astronaut": _photograph(photographs.skimage_photograph, "astronaut", 12),
    "breast_cancer": Source("table", tabular.breast_cancer, (30,), 2),
    "cat": _photograph(photographs.skimage_photograph, "chelsea", 12),
    "china": _photograph(photographs.sklearn_photograph, "china", 12),
    "coffee": _photograph(photographs.skimage_photograph, "coffee", 12),
    "diabetes": Source("target", tabular.diabetes, (10,), 1),
    "digits": Source("image", images.digits, (8, 8, 1), 10, variance=0.294),
    "flower": _photograph(photographs.sklearn_photograph, "flower", 8),
    "iris": Source("table", tabular.iris, (4,), 3),
    "linnerud": Source("target", tabular.linnerud, (3,), 3),
    "markov_text": Source("text", synthetic.markov_text, num_classes=synthetic.MARKOV_VOCABULARY),
    "modular_addition": Source("text", synthetic.modular_addition, num_classes=synthetic.PRIME + 1),
    "python_bytes": Source("text", text.python_bytes, num_classes=text.NUM_BYTES),
    "python_help": Source("text", text.python_help, num_classes=text.VOCABULARY_SIZE),
    "python_source": Source("text", text.python_source, num_classes=text.VOCABULARY_SIZE),
    "random_graphs": Source("graph", graphs.random_graphs, (graphs.NUM_NODES, graphs.NUM_NODES), len(graphs.KINDS)),
    "shapes": Source("image", synthetic.shapes, (synthetic.SHAPE_SIZE, synthetic.SHAPE_SIZE, 1), synthetic.NUM_SHAPES),
    "spirals": Source("table", synthetic.spirals, (2,), synthetic.NUM_ARMS, variance=0.72),
    "structured_graphs": Source(
        "graph",
        graphs.structured_graphs,
        (graphs.NUM_STRUCTURED_NODES, graphs.NUM_STRUCTURED_NODES),
        len(graphs.STRUCTURED_KINDS),
    ),
    "textures": Source(
        "image", synthetic.textures, (synthetic.TEXTURE_SIZE, synthetic.TEXTURE_SIZE, 3), synthetic.NUM_TEXTURES
    ),
    "unicode_names": Source("text", text.unicode_names, num_classes=text.VOCABULARY_SIZE),
    "wine": Source("table", tabular.wine, (13,), 3),
    # Not here unless downloaded; variances are estimates, for pixels in [-1, 1].
    "cifar10": _download("cifar10", (32, 32, 3), 10, 0.25),
    "cifar10_16": _download("cifar10", (16, 16, 3), 10, 0.23),
    "cifar10_8": _download("cifar10", (8, 8, 3), 10, 0.21),
    "cifar10_grey_8": _download("cifar10", (8, 8, 1), 10, 0.2),
    "cifar100": _download("cifar100", (32, 32, 3), 100, 0.28),
    "fashion_mnist": _download("fashion_mnist", (28, 28, 1), 10, 0.34),
    "fashion_mnist_16": _download("fashion_mnist", (16, 16, 1), 10, 0.31),
    "fashion_mnist_32": _download("fashion_mnist", (32, 32, 1), 10, 0.34),
    "fashion_mnist_8": _download("fashion_mnist", (8, 8, 1), 10, 0.27),
    "food101": _download("food101", (32, 32, 3), 101, 0.3),
    "food101_64": _download("food101", (64, 64, 3), 101, 0.3),
    "imagenet16": _download("imagenet_resized/16x16", (16, 16, 3), 1000, 0.25),
    "imagenet32": _download("imagenet_resized/32x32", (32, 32, 3), 1000, 0.27),
    "imagenet64": _download("imagenet_resized/64x64", (64, 64, 3), 1000, 0.29),
    "lm1b": _articles("lm1b"),
    "lm1b_words": _words("lm1b"),
    "mnist": _download("mnist", (28, 28, 1), 10, 0.27),
    "svhn": _download("svhn_cropped", (32, 32, 3), 10, 0.15),
    "wikipedia": _articles("wikipedia/20230601.en"),
    "wikipedia_words": _words("wikipedia/20230601.en"),
}


@functools.cache
def load(name: str):
    """(training, validation) arrays of the data set `name`, on the default device.

    Raises:
        ValueError: there is no data set of that name.
        MissingDataError: it isn't on this machine.
    """
    if name not in SOURCES:
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(sorted(SOURCES))}")
    with jax.ensure_compile_time_eval():  # constants, also where a program is being traced
        return jax.tree.map(jnp.asarray, SOURCES[name].load())


@functools.cache
def is_here(name: str) -> bool:
    """Whether the data set can be loaded on this machine; loads it."""
    try:
        load(name)
    except MissingDataError:
        return False
    return True
