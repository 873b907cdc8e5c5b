"""Windows of characters of the standard library's help texts, in place of the benchmark's novel."""

import collections
import functools

import numpy as np

from evaluation.studies.crowded_valley.epochs import Splits, on_device

VOCABULARY_SIZE = 83
"""Vocabulary size of the benchmark's text."""
MAX_CHARACTERS = 600_000


@functools.cache
def windows(length: int) -> Splits:
    """Consecutive windows of `length` characters, each with the character after it; the last fifth is held out.

    Characters are numbered by frequency; rare ones share the last number.
    """
    from pydoc_data import topics

    text = "\n".join(topics.topics[name] for name in sorted(topics.topics))[:MAX_CHARACTERS]
    common = collections.Counter(text).most_common(VOCABULARY_SIZE - 1)
    numbers = {character: number for number, (character, _) in enumerate(common)}
    tokens = np.array([numbers.get(character, VOCABULARY_SIZE - 1) for character in text], np.int32)
    starts = np.arange(0, len(tokens) - length, length)
    cut = [tokens[start : start + length + 1] for start in starts]
    num_train, num_held_out = len(cut) * 8 // 10, len(cut) // 10
    parts = cut[:num_train], cut[num_train : num_train + num_held_out], cut[-num_held_out:]
    return on_device(*((np.stack(part),) for part in parts))
