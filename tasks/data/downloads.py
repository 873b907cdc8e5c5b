"""Data sets of tensorflow-datasets (the extra `datasets`), read from its folder; only `prepare` downloads."""

import collections
import importlib
import os
import re
from typing import Any

import numpy as np
from PIL import Image

from tasks.data import text
from tasks.data.missing import MissingDataError
from tasks.data.split import shuffle_split

MAX_EXAMPLES = 50_000
"""Greatest number of images of a data set: all of them stay on the device."""
MAX_BYTES = 20_000_000
"""Greatest number of bytes of a text."""
NUM_WORDS = 32_000
"""Size of the vocabulary of `words`."""


def folder() -> str:
    """Where tensorflow-datasets keeps its sets: $TFDS_DATA_DIR, or its default."""
    return os.environ.get("TFDS_DATA_DIR", os.path.join(os.path.expanduser("~"), "tensorflow_datasets"))


def _library(name: str) -> Any:
    try:
        return importlib.import_module("tensorflow_datasets")
    except ImportError as error:
        raise MissingDataError(
            f"the data set {name!r} needs pip install 'velo[datasets]' and its files in {folder()}"
        ) from error


def prepare(name: str) -> None:
    """Downloads a data set of tensorflow-datasets into `folder()`.

    Raises:
        MissingDataError: tensorflow-datasets isn't installed.
    """
    _library(name).builder(name, data_dir=folder()).download_and_prepare()


def _examples(name: str, split: str):
    library = _library(name)
    try:
        return library.as_numpy(library.load(name, split=split, data_dir=folder(), download=False))
    except (AssertionError, FileNotFoundError, OSError, ValueError) as error:
        raise MissingDataError(
            f"the data set {name!r} is not in {folder()}; "
            f"tasks.data.downloads.prepare({name!r}) downloads it, TFDS_DATA_DIR names another folder"
        ) from error


def _resize(image: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The image in another size, smoothed where it shrinks, and in grey if `shape` has one channel."""
    height, width, num_channels = shape
    picture = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
    picture = picture.convert("L" if num_channels == 1 else "RGB").resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture).reshape(shape)


def images(name: str, shape: tuple[int, int, int]):
    """The first 50,000 training images as bytes of the given shape, with their labels; a fifth validates.

    Raises:
        MissingDataError: tensorflow-datasets isn't installed, or the data set isn't in `folder()`.
    """
    inputs, labels = [], []
    for _, example in zip(range(MAX_EXAMPLES), _examples(name, "train"), strict=False):
        image = np.asarray(example["image"])
        inputs.append(image if image.shape == shape else _resize(image, shape))
        labels.append(example["label"])
    return shuffle_split(np.stack(inputs), np.asarray(labels, np.int32))


def _text(name: str) -> bytes:
    """The first 20 million bytes, with a newline between articles."""
    pieces, size = [], 0
    for example in _examples(name, "train"):
        pieces.append(bytes(example["text"]))
        size += len(pieces[-1]) + 1
        if size >= MAX_BYTES:
            break
    return b"\n".join(pieces)[:MAX_BYTES]


def articles(name: str):
    """Text as bytes, a vocabulary of 256 tokens; the last tenth validates.

    Raises:
        MissingDataError: as `images`.
    """
    return text.split_tail(np.frombuffer(_text(name), np.uint8).astype(np.int32))


def words(name: str):
    """Text as words and punctuation; the last tenth validates.

    The vocabulary has 32,000 tokens, numbered by frequency; rarer words share the last one. Deviation:
    learned_optimization cuts rare words into pieces, by a vocabulary that needs a download of its own.

    Raises:
        MissingDataError: as `images`.
    """
    pieces = re.findall(rb"\w+|[^\w\s]|\n", _text(name))
    common = collections.Counter(pieces).most_common(NUM_WORDS - 1)
    numbers = {piece: number for number, (piece, _) in enumerate(common)}
    return text.split_tail(np.array([numbers.get(piece, NUM_WORDS - 1) for piece in pieces], np.int32))
