"""Splits a data set into training and validation examples."""

import numpy as np


def shuffle_split(*arrays: np.ndarray, valid_fraction: float = 0.2, seed: int = 0):
    """((training arrays), (validation arrays)), the same for every call: a fixed permutation of the first axis."""
    order = np.random.default_rng(seed).permutation(len(arrays[0]))
    num_valid = int(len(order) * valid_fraction)
    valid, train = order[:num_valid], order[num_valid:]
    return tuple(a[train] for a in arrays), tuple(a[valid] for a in arrays)
