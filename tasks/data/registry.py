"""Name -> what a data set is and its loader of (training, validation) arrays."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from tasks.data import images, tabular, text


@dataclasses.dataclass(frozen=True)
class Source:
    """What is known of a data set without loading it."""

    kind: str
    """none, image or table (inputs and labels), target (inputs and a real target), or text (one row of tokens)."""
    load: Callable[[], Any]
    """Returns (training, validation) NumPy arrays."""
    input_shape: tuple[int, ...] = ()
    num_classes: int = 0
    """Classes, or the size of the vocabulary."""
    variance: float = 1.0
    """Mean variance of an input around its mean over the data set: the squared error of the best constant."""


SOURCES = {
    "none": Source("none", lambda: ((), ())),
    "digits": Source("image", images.digits, (8, 8, 1), 10, variance=0.294),
    "breast_cancer": Source("table", tabular.breast_cancer, (30,), 2),
    "diabetes": Source("target", tabular.diabetes, (10,)),
    "python_help": Source("text", text.python_help, num_classes=text.VOCABULARY_SIZE),
}


@functools.cache
def load(name: str):
    """(training, validation) arrays of the data set `name`, on the default device."""
    if name not in SOURCES:
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(sorted(SOURCES))}")
    with jax.ensure_compile_time_eval():
        return jax.tree.map(jnp.asarray, SOURCES[name].load())
