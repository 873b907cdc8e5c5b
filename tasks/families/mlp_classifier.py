"""Fully connected classifiers."""

import dataclasses
import math

import numpy as np

from tasks.families import classification, layers
from tasks.families.sampling import choice, log_uniform_power
from tasks.family import TaskFamily


@dataclasses.dataclass(frozen=True)
class MLPClassifier(TaskFamily):
    """Softmax regression on the last of `widths` hidden layers."""

    dataset: str = "digits"
    widths: tuple[int, ...] = (32,)
    activation: str = "relu"
    initializer: str = "he_normal"
    use_norm: bool = False
    batch_size: int = 64

    def __post_init__(self):
        layers.check_positive(self, "widths", "batch_size")
        layers.check_choice("MLPClassifier", "dataset", self.dataset, classification.NUM_CLASSES)
        layers.check_choice("MLPClassifier", "activation", self.activation, layers.ACTIVATIONS)
        layers.check_choice("MLPClassifier", "initializer", self.initializer, layers.INITIALIZERS)

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "MLPClassifier":
        return cls(
            widths=(log_uniform_power(rng, 8, 64),) * int(rng.integers(1, 4)),
            activation=choice(rng, sorted(layers.ACTIVATIONS)),
            initializer=choice(rng, sorted(layers.INITIALIZERS)),
            use_norm=bool(rng.integers(2)),
            batch_size=log_uniform_power(rng, 16, 64),
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
        sizes = [math.prod(classification.INPUT_SHAPES[self.dataset]), *self.widths, self.num_classes]
        params = layers.init_layers(key, layers.stack("dense", sizes), self.initializer, draw.init_scale)
        if self.use_norm:
            params |= {f"norm_{index}": layers.init_norm(width) for index, width in enumerate(self.widths)}
        return params

    def batch(self, data, key):
        return classification.gather(data, key, self.batch_size)

    def loss(self, draw, params, batch, key):
        inputs, labels = classification.perturb(draw, *batch, num_classes=self.num_classes, key=key)
        x = inputs.reshape(len(inputs), -1)
        logits = layers.mlp(params, "dense", len(self.widths) + 1, x, self.activation, self.use_norm)
        return layers.cross_entropy(logits, labels)
