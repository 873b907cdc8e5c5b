"""Fully connected variational autoencoders of images (Kingma and Welling 2014)."""

import dataclasses
import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from tasks import prng
from tasks.data import SOURCES
from tasks.families import classification, draws, layers
from tasks.families.sampling import choice, log_uniform_power
from tasks.family import TaskFamily
from velo.shapes import Array, Float

LOG_DEVIATION_RANGE = (-8.0, 4.0)


class VariationalDraw(NamedTuple):
    """Weight of the Kullback-Leibler divergence, and the scale of the initial parameters."""

    divergence_weight: Float[Array, ""]
    init_scale: Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class VariationalAutoencoder(TaskFamily):
    """Normal latent variables; squared error plus a weighted Kullback-Leibler divergence, both per input entry."""

    dataset: str = "digits"
    widths: tuple[int, ...] = (64,)
    latent_size: int = 8
    activation: str = "relu"
    initializer: str = "glorot_normal"
    batch_size: int = 64

    def __post_init__(self):
        layers.check_fields(self, "widths", "latent_size", "batch_size", dataset=classification.INPUT_SHAPES)

    @classmethod
    def sample(cls, rng: np.random.Generator, scale: int = 1) -> "VariationalAutoencoder":
        """A random architecture; `scale` as in `TaskMixture`."""
        return cls(
            widths=(log_uniform_power(rng, 16, 64 * scale),) * int(rng.integers(1, 3)),
            latent_size=log_uniform_power(rng, 2, 16 * scale),
            activation=choice(rng, sorted(layers.ACTIVATIONS)),
            initializer=choice(rng, sorted(layers.INITIALIZERS)),
            batch_size=log_uniform_power(rng, 16, 64 * scale),
        )

    @property
    def reference_loss(self) -> float:
        return SOURCES[self.dataset].variance

    def draw(self, key):
        uniform = prng.uniform(key, (2,))
        return VariationalDraw(draws.log_uniform(uniform[0], 0.01, 1.0), draws.init_scale(uniform[1]))

    def init(self, draw, key):
        size = math.prod(classification.INPUT_SHAPES[self.dataset])
        encoder = layers.stack("encoder", [size, *self.widths, 2 * self.latent_size])
        decoder = layers.stack("decoder", [self.latent_size, *self.widths[::-1], size])
        return layers.init_layers(key, encoder | decoder, self.initializer, draw.init_scale)

    def batch(self, data, key):
        return classification.gather(data, key, self.batch_size)[0]

    def loss(self, draw, params, batch, key):
        target = batch.reshape(len(batch), -1)
        num_layers = len(self.widths) + 1
        encoded = layers.mlp(params, "encoder", num_layers, target, self.activation)
        mean, log_deviation = jnp.split(encoded, 2, axis=-1)
        log_deviation = jnp.clip(log_deviation, *LOG_DEVIATION_RANGE)
        latent = mean + jnp.exp(log_deviation) * prng.normal(key, mean.shape)
        decoded = layers.mlp(params, "decoder", num_layers, latent, self.activation)
        divergence = 0.5 * (jnp.square(mean) + jnp.exp(2.0 * log_deviation) - 1.0) - log_deviation
        error = jnp.mean(jnp.square(decoded - target))
        return error + draw.divergence_weight * jnp.sum(divergence) / target.size
