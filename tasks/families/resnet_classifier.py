"""Residual convolutional classifiers (He et al. 2016), with activations before the convolutions."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from tasks.families import classification, layers
from tasks.families.sampling import choice, log_uniform_power
from tasks.family import TaskFamily


@dataclasses.dataclass(frozen=True)
class ResNetClassifier(TaskFamily):
    """A first convolution, stages of residual blocks, a mean over positions, softmax regression.

    A stage starts with a strided convolution (the first has stride one) to its `channels`. Deviation: layer norm over
    channels in place of batch norm, which would make the loss depend on the other examples of a batch.
    """

    dataset: str = "digits"
    channels: tuple[int, ...] = (8, 16)
    blocks_per_stage: int = 1
    stride: int = 1
    initializer: str = "he_normal"
    batch_size: int = 16

    def __post_init__(self):
        layers.check_positive(self, "channels", "blocks_per_stage", "stride", "batch_size")
        layers.check_choice("ResNetClassifier", "dataset", self.dataset, classification.IMAGES)
        layers.check_choice("ResNetClassifier", "initializer", self.initializer, layers.INITIALIZERS)

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "ResNetClassifier":
        width = log_uniform_power(rng, 4, 8)
        return cls(
            channels=(width, 2 * width)[: int(rng.integers(1, 3))],
            stride=choice(rng, (1, 2)),
            initializer=choice(rng, sorted(layers.INITIALIZERS)),
            batch_size=choice(rng, (8, 16)),
        )

    @property
    def num_classes(self) -> int:
        return classification.NUM_CLASSES[self.dataset]

    @property
    def reference_loss(self) -> float:
        return math.log(self.num_classes)

    def draw(self, key):
        return classification.draw_classifier(key)

    @property
    def blocks(self) -> list[tuple[str, int]]:
        """(name, channels) of every residual block."""
        stages = enumerate(self.channels)
        return [(f"{stage}_{block}", width) for stage, width in stages for block in range(self.blocks_per_stage)]

    def init(self, draw, key):
        sizes = [classification.INPUT_SHAPES[self.dataset][-1], *self.channels]
        shapes = layers.stack("enter", sizes, (3, 3))
        norms = {"norm_output": layers.init_norm(sizes[-1])}
        for name, width in self.blocks:
            shapes |= {f"first_{name}": (3, 3, width, width), f"second_{name}": (3, 3, width, width)}
            norms |= {f"norm_first_{name}": layers.init_norm(width), f"norm_second_{name}": layers.init_norm(width)}
        shapes["output"] = (sizes[-1], self.num_classes)
        return layers.init_layers(key, shapes, self.initializer, draw.init_scale) | norms

    def batch(self, data, key):
        return classification.gather(data, key, self.batch_size)

    def loss(self, draw, params, batch, key):
        x, labels = classification.perturb(draw, *batch, num_classes=self.num_classes, key=key)
        for name, _ in self.blocks:
            stage, block = name.split("_")
            if block == "0":
                x = layers.conv(params[f"enter_{stage}"], x, self.stride if stage == "0" else 2)
            hidden = x
            for half in ("first", "second"):
                hidden = jax.nn.relu(layers.layer_norm(params[f"norm_{half}_{name}"], hidden))
                hidden = layers.conv(params[f"{half}_{name}"], hidden)
            x = x + hidden
        x = jnp.mean(jax.nn.relu(layers.layer_norm(params["norm_output"], x)), axis=(1, 2))
        return layers.cross_entropy(layers.dense(params["output"], x), labels)
