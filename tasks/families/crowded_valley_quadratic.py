"""The noisy quadratic of an optimizer benchmark, with its numbers (2007.01547's P1, DeepOBS' `quadratic_deep`)."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from tasks.families import layers
from tasks.family import TaskFamily

SIZE = 100
NUM_EXAMPLES = 1000
NOISE = 0.6
HESSIAN_SEED, TRAIN_SEED, TEST_SEED = 42, 42, 43


def _rotation(rng: np.random.RandomState, size: int) -> np.ndarray:
    """A uniform random rotation of `size` dimensions, built from reflections (Diaconis and Shahshahani)."""
    angle = 2 * np.pi * rng.uniform()
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    for dimension in range(2, size):
        unit = rng.normal(size=(dimension + 1, 1))
        mirror = -unit / np.linalg.norm(unit)
        mirror[0] += 1.0
        mirror /= np.linalg.norm(mirror)
        larger = np.zeros((dimension + 1, dimension + 1))
        larger[0, 0] = 1.0
        larger[1:, 1:] = rotation
        rotation = larger - 2 * mirror @ (mirror.T @ larger)
    return -rotation


@functools.cache
def hessian() -> np.ndarray:
    """Q [100, 100]: ninety eigenvalues from U(0, 1) and ten from U(30, 60), rotated with the same generator."""
    rng = np.random.RandomState(HESSIAN_SEED)
    eigenvalues = np.concatenate([rng.uniform(0.0, 1.0, 90), rng.uniform(30.0, 60.0, 10)])
    rotation = _rotation(rng, SIZE)
    return rotation.T @ np.diag(eigenvalues) @ rotation


@functools.cache
def points() -> tuple[np.ndarray, np.ndarray]:
    """(training, test) points [1000, 100], normal with standard deviation 0.6."""
    train, test = (
        np.random.RandomState(seed).normal(0.0, NOISE, (NUM_EXAMPLES, SIZE)).astype(np.float32)
        for seed in (TRAIN_SEED, TEST_SEED)
    )
    return train, test


@dataclasses.dataclass(frozen=True)
class CrowdedValleyQuadratic(TaskFamily):
    """Mean of 0.5 (theta - x)^T Q (theta - x) over the batch's points x. Theta starts at 1; the draw is empty.

    Deviation: each step draws a new batch from all points, without replacement. The benchmark goes through shuffled
    epochs of seven batches.
    """

    dataset: str = "none"
    batch_size: int = 128

    def __post_init__(self):
        layers.check_positive(self, "batch_size")
        if self.batch_size > NUM_EXAMPLES:
            raise ValueError(
                f"CrowdedValleyQuadratic: batch_size must be in [1, {NUM_EXAMPLES}], got {self.batch_size}"
            )

    def load(self):
        return tuple(jnp.asarray(split) for split in points())

    @property
    def reference_loss(self) -> float:
        """The loss at the mean of the points, due to the noise alone: 0.5 * 0.6^2 * trace(Q)."""
        return float(0.5 * NOISE**2 * np.trace(hessian()))

    def draw(self, key):
        return ()

    def init(self, draw, key):
        return {"theta": jnp.ones(SIZE)}

    def batch(self, data, key):
        return data[jax.random.choice(key, NUM_EXAMPLES, (self.batch_size,), replace=False)]

    def loss(self, draw, params, batch, key):
        offset = params["theta"][None] - batch
        curved = jnp.dot(offset, jnp.asarray(hessian(), jnp.float32), precision="highest")
        return 0.5 * jnp.mean(jnp.sum(offset * curved, axis=1))
