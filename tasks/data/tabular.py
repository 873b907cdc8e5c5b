"""Tabular data sets: (standardised features of shape (n, features), labels or standardised targets)."""

from typing import Any

import numpy as np

from tasks.data import scikit_learn
from tasks.data.split import shuffle_split


def _standardize(columns: np.ndarray) -> np.ndarray:
    return ((columns - columns.mean(0)) / columns.std(0)).astype(np.float32)


def breast_cancer():
    """scikit-learn's Wisconsin set: 569 examples, 30 features, two classes."""
    bunch: Any = scikit_learn.datasets().load_breast_cancer()
    return shuffle_split(_standardize(bunch.data), bunch.target.astype(np.int32))


def diabetes():
    """scikit-learn's diabetes set: 442 examples, 10 features, one standardised target."""
    bunch: Any = scikit_learn.datasets().load_diabetes()
    return shuffle_split(_standardize(bunch.data), _standardize(bunch.target))


def iris():
    """scikit-learn's iris set: 150 examples, 4 features, three classes."""
    bunch: Any = scikit_learn.datasets().load_iris()
    return shuffle_split(_standardize(bunch.data), bunch.target.astype(np.int32))


def wine():
    """scikit-learn's wine set: 178 examples, 13 features, three classes."""
    bunch: Any = scikit_learn.datasets().load_wine()
    return shuffle_split(_standardize(bunch.data), bunch.target.astype(np.int32))


def linnerud():
    """scikit-learn's exercise set: 20 examples, 3 features, three standardised targets."""
    bunch: Any = scikit_learn.datasets().load_linnerud()
    return shuffle_split(_standardize(bunch.data), _standardize(bunch.target))
