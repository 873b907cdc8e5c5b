"""Quadratic bowls with random spectra, rotated and noisy."""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from tasks import prng
from tasks.families import draws, layers
from tasks.families.sampling import log_uniform_power
from tasks.family import TaskFamily
from velo.shapes import Array, Float


class QuadraticDraw(NamedTuple):
    """Spectrum, rotation, minimum and noise."""

    curvatures: Float[Array, " size"]  # mean one
    minimum: Float[Array, " size"]
    reflections: Float[Array, "reflections size"]  # unit vectors; a product of reflections rotates
    noise: Float[Array, ""]  # standard deviation of the minimum from batch to batch


@dataclasses.dataclass(frozen=True)
class Quadratic(TaskFamily):
    """Mean of curvature * distance^2, in rotated coordinates, to a minimum that moves a little with every batch.

    The noise is thus like that of a regression. Curvatures are log-uniform in [1 / c, 1], then scaled to a mean of one;
    c is log-uniform in [1, 10^5]. The rotation makes entries interact, as in a network.
    """

    dataset: str = "none"
    size: int = 256
    num_reflections: int = 2

    def __post_init__(self):
        layers.check_positive(self, "size")
        if self.num_reflections < 0:
            raise ValueError(f"Quadratic: num_reflections must be at least 0, got {self.num_reflections}")

    @classmethod
    def sample(cls, rng: np.random.Generator, scale: int = 1) -> "Quadratic":
        """A random architecture; `scale` as in `TaskMixture`."""
        return cls(size=log_uniform_power(rng, 16, 1024 * scale), num_reflections=int(rng.integers(0, 4)))

    @property
    def reference_loss(self) -> float:
        return 1.0

    def draw(self, key):
        key_uniform, key_normal = prng.split(key)
        uniform = prng.uniform(key_uniform, (2 + self.size,))
        normal = prng.normal(key_normal, (1 + self.num_reflections, self.size))
        condition = draws.log_uniform(uniform[0], 1.0, 1e5)
        curvatures = condition ** -uniform[2:]
        return QuadraticDraw(
            curvatures=curvatures / jnp.mean(curvatures),
            minimum=normal[0],
            reflections=normal[1:] / jnp.linalg.norm(normal[1:], axis=1, keepdims=True),
            noise=draws.log_uniform(uniform[1], 1e-3, 1.0),
        )

    def init(self, draw, key):
        return {"x": jnp.zeros(self.size)}

    def batch(self, data, key):
        return prng.normal(key, (1, self.size))

    def loss(self, draw, params, batch, key):
        x = params["x"] - draw.minimum
        for index in range(self.num_reflections):
            unit = draw.reflections[index]
            x = x - 2.0 * unit * jnp.sum(unit * x)
        return jnp.mean(draw.curvatures * jnp.square(x + draw.noise * batch[0]))
