"""What the examples share: the digits, the optimizer from a weights file, and how a run is told."""

import sys

import jax
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


def optimizer(num_steps):
    """The optimizer of the weights file that the command line names; without one, VeLO with an untrained theta."""
    if len(sys.argv) > 1:
        return velo.optimizer(num_steps, sys.argv[1])
    architecture = velo.VeLO()
    return velo.optimizer(num_steps, (architecture, architecture.init(jax.random.key(0))))


def tell(losses, predict):
    images, labels = load()
    accuracy = np.mean(np.argmax(predict(images), axis=1) == labels)
    print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}, accuracy {accuracy:.1%}")
    return accuracy
