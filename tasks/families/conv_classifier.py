"""Convolutional classifiers."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np

from tasks.families import classification, layers
from tasks.families.sampling import choice, log_uniform_power
from tasks.family import TaskFamily


@dataclasses.dataclass(frozen=True)
class ConvClassifier(TaskFamily):
    """Convolutions of stride `stride` at the first layer and 2 after, a mean over positions, softmax regression."""

    dataset: str = "digits"
    channels: tuple[int, ...] = (8, 16)
    kernel_size: int = 3
    stride: int = 1
    activation: str = "relu"
    initializer: str = "he_normal"
    batch_size: int = 32

    def __post_init__(self):
        layers.check_positive(self, "channels", "kernel_size", "stride", "batch_size")
        layers.check_choice("ConvClassifier", "dataset", self.dataset, classification.IMAGES)
        layers.check_choice("ConvClassifier", "activation", self.activation, layers.ACTIVATIONS)
        layers.check_choice("ConvClassifier", "initializer", self.initializer, layers.INITIALIZERS)

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "ConvClassifier":
        width = log_uniform_power(rng, 4, 16)
        return cls(
            channels=tuple(width * min(2**index, 2) for index in range(int(rng.integers(1, 4)))),
            stride=choice(rng, (1, 2)),
            activation=choice(rng, sorted(layers.ACTIVATIONS)),
            initializer=choice(rng, sorted(layers.INITIALIZERS)),
            batch_size=log_uniform_power(rng, 16, 32),
        )

    @property
    def num_classes(self) -> int:
        return classification.NUM_CLASSES[self.dataset]

    @property
    def reference_loss(self) -> float:
        return math.log(self.num_classes)

    def draw(self, key):
        return classification.draw_classifier(key)

    def init(self, draw, key):
        sizes = [classification.INPUT_SHAPES[self.dataset][-1], *self.channels]
        shapes = layers.stack("conv", sizes, (self.kernel_size, self.kernel_size))
        shapes["output"] = (sizes[-1], self.num_classes)
        return layers.init_layers(key, shapes, self.initializer, draw.init_scale)

    def batch(self, data, key):
        return classification.gather(data, key, self.batch_size)

    def loss(self, draw, params, batch, key):
        x, labels = classification.perturb(draw, *batch, num_classes=self.num_classes, key=key)
        for index in range(len(self.channels)):
            x = layers.conv(params[f"conv_{index}"], x, self.stride if index == 0 else 2)
            x = layers.ACTIVATIONS[self.activation](x)
        return layers.cross_entropy(layers.dense(params["output"], jnp.mean(x, axis=(1, 2))), labels)
