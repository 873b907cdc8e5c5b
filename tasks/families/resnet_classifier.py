"""Residual convolutional classifiers (He et al. 2016), with activations before the convolutions."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from tasks.families import classification, layers
from tasks.families.sampling import choice, log_uniform_power


@dataclasses.dataclass(frozen=True)
class ResNetClassifier(classification.Classifier):
    """A first convolution, stages of residual blocks, a mean over positions, a dense layer.

    A stage starts with a convolution to its `channels`, with a stride of `stride` in the first stage and of 2 in the
    others. Deviation: the default is layer norm over channels. Batch norm makes the loss of an example depend on the
    others of the batch.
    """

    dataset: str = "digits"
    channels: tuple[int, ...] = (8, 16)
    blocks_per_stage: int = 1
    stride: int = 1
    """Of the first stage."""
    initializer: str = "he_normal"
    batch_size: int = 16
    norm: str = "layer"
    objective: str = "cross_entropy"

    def __post_init__(self):
        self.check("channels", "blocks_per_stage", "stride", datasets=classification.IMAGES)
        layers.check_choice("ResNetClassifier", "norm", self.norm, layers.NORMS)

    @classmethod
    def sample(cls, rng: np.random.Generator, scale: int = 1) -> "ResNetClassifier":
        """A random architecture; `scale` as in `TaskMixture`."""
        width = log_uniform_power(rng, 4, 8 * scale)
        return cls(
            channels=(width, 2 * width)[: int(rng.integers(1, 3))],
            stride=choice(rng, (1, 2)),
            initializer=choice(rng, sorted(layers.INITIALIZERS)),
            batch_size=log_uniform_power(rng, 8, 16 * scale),
            norm=choice(rng, sorted(layers.NORMS)),
            objective=choice(rng, classification.SAMPLED_OBJECTIVES),
        )

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

    def logits(self, params, inputs, key):
        x = inputs
        for name, _ in self.blocks:
            stage, block = name.split("_")
            if block == "0":
                x = layers.conv(params[f"enter_{stage}"], x, self.stride if stage == "0" else 2)
            hidden = x
            for half in ("first", "second"):
                hidden = jax.nn.relu(layers.normalize(params[f"norm_{half}_{name}"], hidden, self.norm))
                hidden = layers.conv(params[f"{half}_{name}"], hidden)
            x = x + hidden
        x = jnp.mean(jax.nn.relu(layers.normalize(params["norm_output"], x, self.norm)), axis=(1, 2))
        return layers.dense(params["output"], x)
