"""Fully connected classifiers."""

import dataclasses
import math

import numpy as np

from tasks.families import classification, layers
from tasks.families.sampling import SAMPLED_NORMS, choice, log_uniform_power


@dataclasses.dataclass(frozen=True)
class MLPClassifier(classification.Classifier):
    """Hidden layers of the given widths, each with a norm, an activation and dropout, then a dense layer."""

    dataset: str = "digits"
    widths: tuple[int, ...] = (32,)
    activation: str = "relu"
    initializer: str = "he_normal"
    norm: str = "none"
    dropout: float = 0.0
    batch_size: int = 64
    objective: str = "cross_entropy"

    def __post_init__(self):
        self.check("widths")

    @classmethod
    def sample(cls, rng: np.random.Generator, scale: int = 1) -> "MLPClassifier":
        """A random architecture; `scale` as in `TaskMixture`."""
        return cls(
            widths=(log_uniform_power(rng, 8, 64 * scale),) * int(rng.integers(1, 4)),
            activation=choice(rng, sorted(layers.ACTIVATIONS)),
            initializer=choice(rng, sorted(layers.INITIALIZERS)),
            norm=choice(rng, SAMPLED_NORMS),
            batch_size=log_uniform_power(rng, 16, 64 * scale),
            objective=choice(rng, classification.SAMPLED_OBJECTIVES),
        )

    def init(self, draw, key):
        sizes = [math.prod(classification.INPUT_SHAPES[self.dataset]), *self.widths, self.num_classes]
        params = layers.init_layers(key, layers.stack("dense", sizes), self.initializer, draw.init_scale)
        return params | layers.init_norms(self.norm, self.widths)

    def logits(self, params, inputs, key):
        x = inputs.reshape(len(inputs), -1)
        num_layers = len(self.widths) + 1
        return layers.mlp(params, "dense", num_layers, x, self.activation, self.norm, self.dropout, key)
