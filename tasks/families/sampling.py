"""Random choices of architectures, on the host."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def choice(rng: np.random.Generator, options: Sequence[T]) -> T:
    """A uniform choice; unlike that of NumPy, it keeps the option's Python type."""
    return options[int(rng.integers(len(options)))]


def log_uniform_power(rng: np.random.Generator, low: int, high: int) -> int:
    """A power of two in [low, high], uniform in the exponent. With few sizes, more tasks share a program."""
    exponents = range(int(np.ceil(np.log2(low))), int(np.floor(np.log2(high))) + 1)
    return 2 ** choice(rng, exponents)


SAMPLED_NORMS = ("none", "none", "none", "layer", "rms", "batch")
"""`none` and `layers.NORMS`, each as often as families sample it."""
