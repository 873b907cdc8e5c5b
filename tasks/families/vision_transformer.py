"""Classifiers of images with attention between patches (Dosovitskiy et al. 2021)."""

import dataclasses

import numpy as np

from tasks.families import attention, classification, layers, patches
from tasks.families.sampling import choice, log_uniform_power


@dataclasses.dataclass(frozen=True)
class VisionTransformer(patches.PatchClassifier):
    """Embeddings of square patches with learned positions, `depth` blocks, a mean over patches, a dense layer."""

    dataset: str = "digits"
    patch_size: int = 2
    width: int = 32
    num_heads: int = 2
    depth: int = 1
    initializer: str = "lecun_normal"
    batch_size: int = 16
    objective: str = "cross_entropy"

    def __post_init__(self):
        self.check("num_heads", "depth")
        attention.check_heads(self, self.width, self.num_heads)

    @classmethod
    def sample(cls, rng: np.random.Generator, scale: int = 1) -> "VisionTransformer":
        """A random architecture; `scale` as in `TaskMixture`."""
        return cls(
            patch_size=choice(rng, (2, 4)),
            width=log_uniform_power(rng, 16, 32 * scale),
            num_heads=choice(rng, (1, 2, 4)),
            depth=int(rng.integers(1, 3 + scale // 4)),
            initializer=choice(rng, sorted(layers.INITIALIZERS)),
            batch_size=log_uniform_power(rng, 8, 16 * scale),
            objective=choice(rng, classification.SAMPLED_OBJECTIVES),
        )

    def mixer_layers(self):
        shapes, norms = attention.stack_layers(self.depth, self.width)
        return shapes, norms, {"position": (self.num_patches, self.width)}

    def mix(self, params, x):
        x = x + params["position"][None]
        for index in range(self.depth):
            x = attention.block(params, f"block_{index}", x, self.num_heads)
        return x
