"""Name -> loader of (training, validation) arrays."""

import functools

import jax
import jax.numpy as jnp

from tasks.data import images, tabular, text

DATASETS = {
    "none": lambda: ((), ()),
    "digits": images.digits,
    "breast_cancer": tabular.breast_cancer,
    "diabetes": tabular.diabetes,
    "python_help": text.python_help,
}


@functools.cache
def load(name: str):
    """(training, validation) arrays of the data set `name`, on the default device."""
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(sorted(DATASETS))}")
    with jax.ensure_compile_time_eval():
        return jax.tree.map(jnp.asarray, DATASETS[name]())
