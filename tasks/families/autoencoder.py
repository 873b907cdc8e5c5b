"""Fully connected autoencoders of images."""

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


class AutoencoderDraw(NamedTuple):
    """Noise on the input, and the scale of the initial parameters."""

    input_noise: Float[Array, ""]  # standard deviation; the target is the clean image
    init_scale: Float[Array, ""]

    def undisturbed(self) -> "AutoencoderDraw":
        """The same draw with data as stored and initial parameters of their usual scale."""
        return self._replace(input_noise=None, init_scale=jnp.ones(()))


@dataclasses.dataclass(frozen=True)
class Autoencoder(TaskFamily):
    """A denoising autoencoder under mean squared error; its decoder mirrors the hidden layers of the encoder."""

    dataset: str = "digits"
    widths: tuple[int, ...] = (64, 16)
    """Of the encoder's layers; the last is the code."""
    activation: str = "relu"
    initializer: str = "glorot_normal"
    batch_size: int = 64
    bounded: bool = False
    """Whether a tanh bounds the output, as suits pixels in [-1, 1]."""

    def __post_init__(self):
        layers.check_fields(self, "widths", "batch_size", dataset=classification.INPUT_SHAPES)

    @classmethod
    def sample(cls, rng: np.random.Generator, scale: int = 1) -> "Autoencoder":
        """A random architecture; `scale` as in `TaskMixture`."""
        width = log_uniform_power(rng, 16, 64 * scale)
        return cls(
            widths=tuple(width // 2**index for index in range(int(rng.integers(1, 4)))),
            activation=choice(rng, sorted(layers.ACTIVATIONS)),
            initializer=choice(rng, sorted(layers.INITIALIZERS)),
            batch_size=log_uniform_power(rng, 16, 64 * scale),
        )

    @property
    def reference_loss(self) -> float:
        return SOURCES[self.dataset].variance

    @property
    def sizes(self) -> list[int]:
        """Layer sizes from the input through the code and back."""
        size = math.prod(classification.INPUT_SHAPES[self.dataset])
        return [size, *self.widths, *self.widths[-2::-1], size]

    def draw(self, key):
        uniform = prng.uniform(key, (2,))
        return AutoencoderDraw(input_noise=0.3 * uniform[0], init_scale=draws.init_scale(uniform[1]))

    def init(self, draw, key):
        return layers.init_layers(key, layers.stack("dense", self.sizes), self.initializer, draw.init_scale)

    def batch(self, data, key):
        return classification.gather(data, key, self.batch_size)[0]

    def loss(self, draw, params, batch, key):
        target = batch.reshape(len(batch), -1)
        x = target
        if draw.input_noise is not None:
            x = x + draw.input_noise * prng.normal(key, target.shape)
        decoded = layers.mlp(params, "dense", len(self.sizes) - 1, x, self.activation)
        return layers.squared_error(jnp.tanh(decoded) if self.bounded else decoded, target)
