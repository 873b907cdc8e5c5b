"""Convolutional classifiers."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from tasks.families import classification, layers
from tasks.families.sampling import SAMPLED_NORMS, choice, log_uniform_power


@dataclasses.dataclass(frozen=True)
class ConvClassifier(classification.Classifier):
    """Convolutions, each followed by an activation and a norm, then a mean over positions and a dense layer."""

    dataset: str = "digits"
    channels: tuple[int, ...] = (8, 16)
    kernel_size: int = 3
    stride: int = 1
    """Of the first convolution."""
    later_stride: int = 2
    """Of the other convolutions."""
    activation: str = "relu"
    initializer: str = "he_normal"
    norm: str = "none"
    batch_size: int = 32
    objective: str = "cross_entropy"

    def __post_init__(self):
        self.check("channels", "kernel_size", "stride", "later_stride", datasets=classification.IMAGES)

    @classmethod
    def sample(cls, rng: np.random.Generator, scale: int = 1) -> "ConvClassifier":
        """A random architecture; `scale` as in `TaskMixture`."""
        width = log_uniform_power(rng, 4, 16 * scale)
        return cls(
            channels=tuple(width * min(2**index, 2) for index in range(int(rng.integers(1, 4)))),
            stride=choice(rng, (1, 2)),
            activation=choice(rng, sorted(layers.ACTIVATIONS)),
            initializer=choice(rng, sorted(layers.INITIALIZERS)),
            batch_size=log_uniform_power(rng, 16, 32 * scale),
            norm=choice(rng, SAMPLED_NORMS),
            objective=choice(rng, classification.SAMPLED_OBJECTIVES),
        )

    def init(self, draw, key):
        sizes = [classification.INPUT_SHAPES[self.dataset][-1], *self.channels]
        shapes = layers.stack("conv", sizes, (self.kernel_size, self.kernel_size))
        shapes["output"] = (sizes[-1], self.num_classes)
        params = layers.init_layers(key, shapes, self.initializer, draw.init_scale)
        return params | layers.init_norms(self.norm, self.channels)

    def logits(self, params, inputs, key):
        x = inputs
        for index in range(len(self.channels)):
            x = layers.conv(params[f"conv_{index}"], x, self.later_stride if index else self.stride)
            x = layers.ACTIVATIONS[self.activation](x)
            if self.norm != "none":
                x = layers.normalize(params[f"norm_{index}"], x, self.norm)
        return layers.dense(params["output"], jnp.mean(x, axis=(1, 2)))
