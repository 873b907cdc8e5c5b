"""Text data sets: one long array of character numbers, split into a first and a last part."""

import numpy as np

VOCABULARY_SIZE = 64


def encode(text: str) -> np.ndarray:
    """Characters as int32 below 64: case folded to lower, rare characters to one symbol, so that sets share it."""
    alphabet = "abcdefghijklmnopqrstuvwxyz0123456789 \n.,;:!?'\"()[]{}<>=+-*/_#@%&"
    index = {character: number for number, character in enumerate(alphabet[: VOCABULARY_SIZE - 1])}
    return np.array([index.get(character, VOCABULARY_SIZE - 1) for character in text.lower()], np.int32)


def python_help():
    """The standard library's help topics (`pydoc_data`), about 700,000 characters; the last tenth validates."""
    from pydoc_data import topics

    tokens = encode("\n".join(topics.topics[name] for name in sorted(topics.topics)))
    cut = len(tokens) * 9 // 10
    return tokens[:cut], tokens[cut:]
