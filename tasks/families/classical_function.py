"""Classical test functions of optimization, shifted, scaled and noisy (Jamil and Yang 2013)."""

import dataclasses
import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from tasks import prng
from tasks.families import draws, layers
from tasks.families.sampling import choice, log_uniform_power
from tasks.family import TaskFamily
from velo.shapes import Array, Float


def _ackley(x):
    ridge = -20.0 * jnp.exp(-0.2 * jnp.sqrt(jnp.mean(jnp.square(x)) + 1e-12))
    return ridge - jnp.exp(jnp.mean(jnp.cos(2 * math.pi * x))) + 20.0 + math.e


def _griewank(x):
    return jnp.mean(jnp.square(x)) / 4.0 - jnp.prod(jnp.cos(x * (1.0 + jnp.arange(len(x))) ** -0.5)) + 1.0


def _levy(x):
    w = 1.0 + x / 4.0
    middle = jnp.square(w[:-1] - 1.0) * (1.0 + 10.0 * jnp.square(jnp.sin(math.pi * w[:-1] + 1.0)))
    last = jnp.square(w[-1] - 1.0) * (1.0 + jnp.square(jnp.sin(2.0 * math.pi * w[-1])))
    return jnp.square(jnp.sin(math.pi * w[0])) + jnp.mean(middle) + last


def _rastrigin(x):
    return jnp.mean(jnp.square(x) + 10.0 * (1.0 - jnp.cos(2.0 * math.pi * x)))


def _rosenbrock(x):
    y = x + 1.0
    return jnp.mean(100.0 * jnp.square(y[1:] - jnp.square(y[:-1])) + jnp.square(1.0 - y[:-1]))


def _styblinski_tang(x):
    y = x - 2.903534
    return jnp.mean(y**4 - 16.0 * jnp.square(y) + 5.0 * y) / 2.0 + 39.166166


def _zakharov(x):
    tilted = jnp.mean(0.5 * (1.0 + jnp.arange(len(x))) / len(x) * x)
    return jnp.mean(jnp.square(x)) + jnp.square(tilted) + tilted**4


FUNCTIONS = {
    "ackley": (_ackley, 5.4),
    "griewank": (_griewank, 2.0),
    "levy": (_levy, 1.0),
    "rastrigin": (_rastrigin, 11.0),
    "rosenbrock": (_rosenbrock, 950.0),
    "styblinski_tang": (_styblinski_tang, 50.0),
    "zakharov": (_zakharov, 1.2),
}
"""Name -> (function, its typical value at a standard normal point).

Each has its minimum, zero, at zero. Means over the entries replace sums, so that values hardly depend on the length.
"""


class FunctionDraw(NamedTuple):
    """Minimum, scales and noise."""

    minimum: Float[Array, " size"]
    scales: Float[Array, " size"]  # factors on the entries
    noise: Float[Array, ""]  # standard deviation of the point at which a batch evaluates


@dataclasses.dataclass(frozen=True)
class ClassicalFunction(TaskFamily):
    """A named function of one vector, evaluated at random points around the shifted and scaled parameters."""

    dataset: str = "none"
    function: str = "rosenbrock"
    size: int = 16

    def __post_init__(self):
        if self.size < 2:
            raise ValueError(f"ClassicalFunction: size must be at least 2, got {self.size}")
        layers.check_choice("ClassicalFunction", "function", self.function, FUNCTIONS)

    @classmethod
    def sample(cls, rng: np.random.Generator, scale: int = 1) -> "ClassicalFunction":
        """A random architecture; `scale` as in `TaskMixture`."""
        return cls(function=choice(rng, sorted(FUNCTIONS)), size=log_uniform_power(rng, 2, 256 * scale))

    @property
    def reference_loss(self) -> float:
        return FUNCTIONS[self.function][1]

    def draw(self, key):
        key_uniform, key_normal = prng.split(key)
        uniform = prng.uniform(key_uniform, (2 + self.size,))
        spread = 3.0 ** (uniform[0] * (2.0 * uniform[2:] - 1.0))
        return FunctionDraw(
            minimum=prng.normal(key_normal, (self.size,)) / spread,
            scales=spread,
            noise=draws.log_uniform(uniform[1], 1e-3, 0.3),
        )

    def init(self, draw, key):
        return {"x": jnp.zeros(self.size)}

    def batch(self, data, key):
        return prng.normal(key, (1, self.size))

    def loss(self, draw, params, batch, key):
        x = draw.scales * (params["x"] - draw.minimum) + draw.noise * batch[0]
        return FUNCTIONS[self.function][0](x)
