"""Training of a small learned optimizer by backpropagation through its runs on inner problems."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tasks import prng
from tasks.families import draws, layers
from tasks.families.sampling import choice, log_uniform_power
from tasks.family import TaskFamily
from velo.shapes import Array, Float

NUM_FEATURES = 3
LOSS_BOUND = 20.0
"""Bound on |log(inner loss / first inner loss)|, so that the loss of an unstable inner run is large but finite."""


class InnerProblemsDraw(NamedTuple):
    """Curvatures and noise of the inner problems, and the scale of the initial parameters."""

    curvature_spread: Float[Array, ""]  # curvatures are e^(spread * tanh(normal))
    gradient_noise: Float[Array, ""]
    init_scale: Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class LearnedOptimizerTraining(TaskFamily):
    """The parameters are those of an MLP that maps the gradient and two momenta of an entry to its step.

    The MLP minimises noisy diagonal quadratics for `unroll_steps` steps. The loss is the softplus of the mean of
    log(inner loss / first inner loss), which grows slowly where inner runs diverge.
    """

    dataset: str = "none"
    width: int = 16
    depth: int = 1
    activation: str = "tanh"
    initializer: str = "lecun_normal"
    problem_size: int = 8
    unroll_steps: int = 8
    batch_size: int = 8

    def __post_init__(self):
        layers.check_fields(self, "width", "depth", "problem_size", "unroll_steps", "batch_size")

    @classmethod
    def sample(cls, rng: np.random.Generator, scale: int = 1) -> "LearnedOptimizerTraining":
        """A random architecture; `scale` as in `TaskMixture`."""
        return cls(
            width=log_uniform_power(rng, 8, 32 * scale),
            depth=int(rng.integers(1, 3)),
            activation=choice(rng, sorted(layers.ACTIVATIONS)),
            initializer=choice(rng, sorted(layers.INITIALIZERS)),
            problem_size=log_uniform_power(rng, 4, 16 * scale),
            unroll_steps=choice(rng, (4, 8, 16)),
            batch_size=log_uniform_power(rng, 4, 8 * scale),
        )

    @property
    def reference_loss(self) -> float:
        """The loss of an optimizer that makes no steps: softplus(0)."""
        return float(np.log(2.0))

    def draw(self, key):
        uniform = prng.uniform(key, (3,))
        return InnerProblemsDraw(
            curvature_spread=2.0 * uniform[0],
            gradient_noise=0.3 * uniform[1],
            init_scale=draws.init_scale(uniform[2]),
        )

    def init(self, draw, key):
        sizes = [NUM_FEATURES, *[self.width] * self.depth, 1]
        return layers.init_layers(key, layers.stack("dense", sizes), self.initializer, draw.init_scale)

    def batch(self, data, key):
        entries = (self.batch_size, self.problem_size)
        noise = (self.batch_size, self.unroll_steps, self.problem_size)
        return draws.normals(key, {"curvatures": entries, "start": entries, "noise": noise})

    def loss(self, draw, params, batch, key):
        curvatures = jnp.exp(draw.curvature_spread * jnp.tanh(batch["curvatures"]))

        def step(carry, noise):
            x, fast, slow = carry
            grad = curvatures * x + draw.gradient_noise * noise
            fast, slow = 0.5 * fast + 0.5 * grad, 0.9 * slow + 0.1 * grad
            features = jnp.arcsinh(jnp.stack([grad, fast, slow], axis=-1))
            moves = layers.mlp(params, "dense", self.depth + 1, features, self.activation)[..., 0]
            x = x - 0.3 * moves
            return (x, fast, slow), jnp.mean(curvatures * jnp.square(x), axis=-1)

        zeros = jnp.zeros_like(batch["start"])
        _, losses = jax.lax.scan(step, (batch["start"], zeros, zeros), jnp.swapaxes(batch["noise"], 0, 1))
        first = jnp.mean(curvatures * jnp.square(batch["start"]), axis=-1)
        ratios = jnp.log(losses + 1e-6) - jnp.log(first + 1e-6)[None]
        return jax.nn.softplus(jnp.mean(jnp.clip(ratios, -LOSS_BOUND, LOSS_BOUND)))
