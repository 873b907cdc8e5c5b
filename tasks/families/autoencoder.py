"""Fully connected autoencoders of images."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tasks.families import classification, layers
from tasks.family import TaskFamily
from velo.shapes import Array, Float

VARIANCES = {"digits": 0.294, "breast_cancer": 1.0}
"""Mean variance of an input over the data set: the error of the best constant."""


class AutoencoderDraw(NamedTuple):
    input_noise: Float[Array, ""]  # standard deviation; the target is the clean image
    init_scale: Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class Autoencoder(TaskFamily):
    """Denoising autoencoder with mirrored hidden layers; mean squared error."""

    dataset: str = "digits"
    widths: tuple[int, ...] = (64, 16)
    activation: str = "relu"
    initializer: str = "glorot_normal"
    batch_size: int = 64

    def __post_init__(self):
        layers.check_positive(self, "widths", "batch_size")
        layers.check_choice("Autoencoder", "dataset", self.dataset, classification.INPUT_SHAPES)
        layers.check_choice("Autoencoder", "activation", self.activation, layers.ACTIVATIONS)
        layers.check_choice("Autoencoder", "initializer", self.initializer, layers.INITIALIZERS)

    @property
    def reference_loss(self) -> float:
        return VARIANCES[self.dataset]

    @property
    def sizes(self) -> list[int]:
        size = math.prod(classification.INPUT_SHAPES[self.dataset])
        return [size, *self.widths, *self.widths[-2::-1], size]

    def draw(self, key):
        uniform = jax.random.uniform(key, (2,))
        return AutoencoderDraw(input_noise=0.3 * uniform[0], init_scale=classification.init_scale(uniform[1]))

    def init(self, draw, key):
        return layers.init_layers(key, layers.stack("dense", self.sizes), self.initializer, draw.init_scale)

    def batch(self, data, key):
        return classification.gather(data, key, self.batch_size)[0]

    def loss(self, draw, params, batch, key):
        target = batch.reshape(len(batch), -1)
        x = target + draw.input_noise * jax.random.normal(key, target.shape)
        num_layers = len(self.sizes) - 1
        for index in range(num_layers):
            x = layers.dense(params[f"dense_{index}"], x)
            if index < num_layers - 1:
                x = layers.ACTIVATIONS[self.activation](x)
        return jnp.mean(jnp.square(x - target))
