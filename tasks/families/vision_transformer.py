"""Classifiers of image patches with attention (Dosovitskiy et al. 2021)."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np

from tasks.families import attention, classification, layers
from tasks.families.sampling import choice
from tasks.family import TaskFamily


@dataclasses.dataclass(frozen=True)
class VisionTransformer(TaskFamily):
    """Embeds square patches, `depth` blocks, a mean over patches, softmax regression."""

    dataset: str = "digits"
    patch_size: int = 2
    width: int = 32
    num_heads: int = 2
    depth: int = 1
    initializer: str = "lecun_normal"
    batch_size: int = 16

    def __post_init__(self):
        layers.check_positive(self, "patch_size", "width", "num_heads", "depth", "batch_size")
        layers.check_choice("VisionTransformer", "dataset", self.dataset, classification.IMAGES)
        layers.check_choice("VisionTransformer", "initializer", self.initializer, layers.INITIALIZERS)
        attention.check_heads(self, self.width, self.num_heads)
        layers.check_patches(self, classification.INPUT_SHAPES[self.dataset], self.patch_size)

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "VisionTransformer":
        return cls(
            patch_size=choice(rng, (2, 4)),
            width=choice(rng, (16, 32)),
            num_heads=choice(rng, (1, 2, 4)),
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
            shapes |= attention.block_shapes(f"block_{index}", self.width)
            norms |= attention.block_norms(f"block_{index}", self.width)
        shapes["output"] = (self.width, self.num_classes)
        tables = {"position": (num_patches, self.width)}
        return layers.init_layers(key, shapes, self.initializer, draw.init_scale, tables, table_deviation=0.3) | norms

    def batch(self, data, key):
        return classification.gather(data, key, self.batch_size)

    def loss(self, draw, params, batch, key):
        images, labels = classification.perturb(draw, *batch, num_classes=self.num_classes, key=key)
        x = layers.dense(params["patch"], layers.cut_patches(images, self.patch_size)) + params["position"][None]
        for index in range(self.depth):
            x = attention.block(params, f"block_{index}", x, self.num_heads)
        x = jnp.mean(layers.layer_norm(params["norm_output"], x), axis=1)
        return layers.cross_entropy(layers.dense(params["output"], x), labels)
