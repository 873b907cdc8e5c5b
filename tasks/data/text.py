"""Text data sets: one long array of token numbers, split into a first and a last part."""

import importlib.util
import unicodedata
from pathlib import Path

import numpy as np

VOCABULARY_SIZE = 64
NUM_BYTES = 256
SOURCE_MODULES = ("argparse", "ast", "calendar", "dataclasses", "datetime", "difflib", "doctest", "enum", "inspect",
                  "ipaddress", "locale", "optparse", "pdb", "pickle", "statistics", "subprocess", "tarfile",
                  "threading", "turtle", "typing", "zipfile")  # fmt: skip
"""Modules of the standard library whose source is the text of `python_source` and `python_bytes`."""


def encode(text: str) -> np.ndarray:
    """Characters as int32 below 64: in lower case, rare ones as one symbol, so that data sets share a vocabulary."""
    alphabet = "abcdefghijklmnopqrstuvwxyz0123456789 \n.,;:!?'\"()[]{}<>=+-*/_#@%&"
    index = {character: number for number, character in enumerate(alphabet[: VOCABULARY_SIZE - 1])}
    return np.array([index.get(character, VOCABULARY_SIZE - 1) for character in text.lower()], np.int32)


def split_tail(tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(first nine tenths, last tenth)."""
    cut = len(tokens) * 9 // 10
    return tokens[:cut], tokens[cut:]


def _source() -> bytes:
    """Source code of about 1.7 million bytes with Python 3.11; it differs a little between versions."""
    specs = [importlib.util.find_spec(name) for name in SOURCE_MODULES]
    return b"\n".join(Path(spec.origin).read_bytes() for spec in specs if spec and spec.has_location and spec.origin)


def python_help():
    """The standard library's help topics (`pydoc_data`); the last tenth validates.

    About 470,000 characters with Python 3.11.
    """
    from pydoc_data import topics

    return split_tail(encode("\n".join(topics.topics[name] for name in sorted(topics.topics))))


def python_source():
    """Characters of the standard library's source; the last tenth validates."""
    return split_tail(encode(_source().decode()))


def python_bytes():
    """Bytes of the standard library's source, a vocabulary of 256 tokens; the last tenth validates."""
    return split_tail(np.frombuffer(_source(), np.uint8).astype(np.int32))


def unicode_names():
    """The names of the characters among Unicode's first 20,000 code points, a line each: about 500,000 characters.

    Their order is random. They differ a little between versions of Python. The last tenth validates.
    """
    names = [name for point in range(20_000) if (name := unicodedata.name(chr(point), ""))]
    order = np.random.default_rng(0).permutation(len(names))
    return split_tail(encode("\n".join(names[index] for index in order)))
