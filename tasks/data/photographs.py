"""Patches of photographs that ship with scikit-learn and scikit-image; the label is the region of the photograph.

Neighbouring patches look alike and regions share textures, so that simple features cannot bring the error to zero.
"""

import numpy as np

from tasks.data import scikit_learn
from tasks.data.missing import MissingDataError
from tasks.data.split import shuffle_split

GRID = (3, 4)
NUM_REGIONS = GRID[0] * GRID[1]
NUM_PATCHES = 6000


def _patches(photograph: np.ndarray, size: int):
    """`NUM_PATCHES` standardised patches of size x size x 3 and their regions in a 3 x 4 grid; a fifth validates."""
    rng = np.random.default_rng(0)
    height, width = photograph.shape[:2]
    rows = rng.integers(0, height - size + 1, NUM_PATCHES)
    columns = rng.integers(0, width - size + 1, NUM_PATCHES)
    offsets = np.arange(size)
    patches = photograph[rows[:, None, None] + offsets[:, None], columns[:, None, None] + offsets]
    regions = (rows + size // 2) * GRID[0] // height * GRID[1] + (columns + size // 2) * GRID[1] // width
    patches = patches.astype(np.float32)
    return shuffle_split((patches - patches.mean()) / patches.std(), regions.astype(np.int32))


def sklearn_photograph(name: str, size: int):
    """Patches of a photograph of scikit-learn: china or flower.

    Raises:
        MissingDataError: scikit-learn isn't installed.
    """
    return _patches(scikit_learn.datasets().load_sample_image(f"{name}.jpg"), size)


def skimage_photograph(name: str, size: int):
    """Patches of a colour photograph of scikit-image: astronaut, chelsea, coffee, ...

    Raises:
        MissingDataError: scikit-image isn't installed.
    """
    try:
        from skimage import data
    except ImportError as error:
        raise MissingDataError(f"the photograph {name!r} needs scikit-image: pip install 'velo[images]'") from error
    return _patches(getattr(data, name)(), size)
