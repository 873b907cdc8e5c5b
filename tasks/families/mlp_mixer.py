"""Classifiers of image patches that mix positions and channels by MLPs (Tolstikhin et al. 2021)."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np

from tasks.families import classification, layers
from tasks.families.sampling import choice, log_uniform_power
from tasks.family import TaskFamily


@dataclasses.dataclass(frozen=True)
class MLPMixer(TaskFamily):
    """Embeds square patches; `depth` blocks of an MLP over patches and one over channels; a mean over patches."""

    dataset: str = "digits"
    patch_size: int = 2
    width: int = 32
    patch_mlp_width: int = 16
    channel_mlp_width: int = 64
    depth: int = 1
    initializer: str = "lecun_normal"
    batch_size: int = 16

    def __post_init__(self):
        sizes = ("patch_size", "width", "patch_mlp_width", "channel_mlp_width", "depth", "batch_size")
        layers.check_positive(self, *sizes)
        layers.check_choice("MLPMixer", "dataset", self.dataset, classification.IMAGES)
        layers.check_choice("MLPMixer", "initializer", self.initializer, layers.INITIALIZERS)
        layers.check_patches(self, classification.INPUT_SHAPES[self.dataset], self.patch_size)

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "MLPMixer":
        return cls(
            patch_size=choice(rng, (2, 4)),
            width=choice(rng, (16, 32)),
            patch_mlp_width=log_uniform_power(rng, 8, 32),
            channel_mlp_width=log_uniform_power(rng, 16, 64),
            depth=int(rng.integers(1, 3)),
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

    def init(self, draw, key):
        height, image_width, num_channels = classification.INPUT_SHAPES[self.dataset]
        num_patches = height * image_width // self.patch_size**2
        shapes = {"patch": (self.patch_size**2 * num_channels, self.width)}
        norms = {"norm_output": layers.init_norm(self.width)}
        for index in range(self.depth):
            shapes |= layers.stack(f"across_{index}", [num_patches, self.patch_mlp_width, num_patches])
            shapes |= layers.stack(f"within_{index}", [self.width, self.channel_mlp_width, self.width])
            norms |= {f"norm_across_{index}": layers.init_norm(self.width)}
            norms |= {f"norm_within_{index}": layers.init_norm(self.width)}
        shapes["output"] = (self.width, self.num_classes)
        return layers.init_layers(key, shapes, self.initializer, draw.init_scale) | norms

    def batch(self, data, key):
        return classification.gather(data, key, self.batch_size)

    def loss(self, draw, params, batch, key):
        images, labels = classification.perturb(draw, *batch, num_classes=self.num_classes, key=key)
        x = layers.dense(params["patch"], layers.cut_patches(images, self.patch_size))
        for index in range(self.depth):
            across = jnp.swapaxes(layers.layer_norm(params[f"norm_across_{index}"], x), 1, 2)
            x = x + jnp.swapaxes(layers.mlp(params, f"across_{index}", 2, across, "gelu"), 1, 2)
            within = layers.layer_norm(params[f"norm_within_{index}"], x)
            x = x + layers.mlp(params, f"within_{index}", 2, within, "gelu")
        x = jnp.mean(layers.layer_norm(params["norm_output"], x), axis=1)
        return layers.cross_entropy(layers.dense(params["output"], x), labels)
