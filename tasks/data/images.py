"""Image data sets: (images of shape (n, height, width, channels) in [-1, 1], integer labels)."""

from typing import Any

import numpy as np

from tasks.data import scikit_learn
from tasks.data.split import shuffle_split


def digits():
    """scikit-learn's 1,797 handwritten digits, 8 x 8 pixels, ten classes."""
    bunch: Any = scikit_learn.datasets().load_digits()
    images = (bunch.images / 8.0 - 1.0).astype(np.float32)[..., None]
    return shuffle_split(images, bunch.target.astype(np.int32))
