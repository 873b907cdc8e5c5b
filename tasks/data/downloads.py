"""Real data sets through tensorflow-datasets (the extra `data`): read from its folder, never downloaded unasked."""

import importlib
import os
from typing import Any

import numpy as np

from tasks.data import text
from tasks.data.missing import MissingDataError
from tasks.data.split import shuffle_split

MAX_EXAMPLES = 50_000
"""Images that are kept; all live on the device."""
MAX_BYTES = 20_000_000
"""Bytes of text that are kept."""


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
    """Downloads a set of tensorflow-datasets into its folder."""
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
    """Pixels of the nearest positions; only sets whose images differ in size need it."""
    height, width, _ = shape
    rows = (np.arange(height) + 0.5) * image.shape[0] // height
    columns = (np.arange(width) + 0.5) * image.shape[1] // width
    return image[rows.astype(int)[:, None], columns.astype(int)[None]]


def images(name: str, shape: tuple[int, int, int]):
    """At most 50,000 training images of the given shape in [-1, 1], a fifth of them for validation."""
    inputs, labels = [], []
    for _, example in zip(range(MAX_EXAMPLES), _examples(name, "train"), strict=False):
        inputs.append(_resize(example["image"], shape))
        labels.append(example["label"])
    return shuffle_split(np.stack(inputs).astype(np.float32) / 127.5 - 1.0, np.asarray(labels, np.int32))


def articles(name: str):
    """The first 20 million bytes of text, 256 tokens; the last tenth validates."""
    pieces, size = [], 0
    for example in _examples(name, "train"):
        pieces.append(bytes(example["text"]))
        size += len(pieces[-1]) + 1
        if size >= MAX_BYTES:
            break
    tokens = np.frombuffer(b"\n".join(pieces)[:MAX_BYTES], np.uint8).astype(np.int32)
    return text.split_tail(tokens)
