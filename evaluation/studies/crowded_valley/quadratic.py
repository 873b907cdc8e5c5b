"""P1, `quadratic_deep`: the benchmark's noisy quadratic, number for number."""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np

from evaluation.studies.crowded_valley.epochs import Problem, Splits, on_device
from tasks.families.crowded_valley_quadratic import NOISE, NUM_EXAMPLES, SIZE, hessian, points

VALID_SEED = 44


@functools.cache
def _splits() -> Splits:
    train, test = points()
    valid = np.random.RandomState(VALID_SEED).normal(0.0, NOISE, (NUM_EXAMPLES, SIZE)).astype(np.float32)
    return on_device((train,), (valid,), (test,))


@dataclasses.dataclass(frozen=True)
class NoisyQuadratic(Problem):
    """Mean of 0.5 (theta - x)^T Q (theta - x) over points x, from theta = 1."""

    def load(self):
        return _splits()

    def init(self, key):
        return {"theta": jnp.ones(SIZE)}

    def loss(self, params, examples, key):
        (points,) = examples
        curvature = jnp.asarray(hessian(), jnp.float32)
        # Around the batch's mean the loss splits into a term of theta and a term of the points, which has no gradient.
        center = jnp.mean(points, axis=0)
        around = points - center[None]
        spread = jnp.mean(jnp.sum(around * jnp.dot(around, curvature, precision="highest"), axis=1))
        offset = params["theta"] - center
        return 0.5 * (jnp.dot(offset, jnp.dot(curvature, offset, precision="highest")) + spread)

    def metric(self, params, examples, key):
        return self.loss(params, examples, key)

    @property
    def reference_loss(self) -> float:
        return float(0.5 * NOISE**2 * np.trace(hessian()))
