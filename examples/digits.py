"""What the examples share: the digits, the weights that the command line names, and the report of a run."""

import sys

import numpy as np
from sklearn.datasets import load_digits

import velo

NUM_STEPS = 500
BATCH_SIZE = 128


def load():
    """(images of shape (1797, 64) in [-1, 1], labels)."""
    digits = load_digits()
    return (digits.data / 8.0 - 1.0).astype(np.float32), digits.target.astype(np.int32)


def batches(num_steps, seed=0):
    """`num_steps` random batches."""
    images, labels = load()
    rng = np.random.default_rng(seed)
    for _ in range(num_steps):
        rows = rng.integers(len(labels), size=BATCH_SIZE)
        yield images[rows], labels[rows]


def weights():
    """The weights file that the command line names; by default the package's weights."""
    return sys.argv[1] if len(sys.argv) > 1 else "default"


def optimizer(num_steps):
    return velo.optimizer(num_steps, weights())


def tell(losses, predict):
    images, labels = load()
    accuracy = np.mean(np.argmax(predict(images), axis=1) == labels)
    print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}, accuracy {accuracy:.1%}")
    return accuracy
