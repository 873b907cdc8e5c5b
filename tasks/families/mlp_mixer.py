"""Classifiers of images that mix patches and channels by MLPs (Tolstikhin et al. 2021)."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from tasks.families import classification, layers, patches
from tasks.families.sampling import choice, log_uniform_power


@dataclasses.dataclass(frozen=True)
class MLPMixer(patches.PatchClassifier):
    """`depth` blocks, each an MLP over patches and an MLP over channels."""

    dataset: str = "digits"
    patch_size: int = 2
    width: int = 32
    patch_mlp_width: int = 16
    channel_mlp_width: int = 64
    depth: int = 1
    initializer: str = "lecun_normal"
    batch_size: int = 16
    objective: str = "cross_entropy"

    def __post_init__(self):
        self.check("patch_mlp_width", "channel_mlp_width", "depth")

    @classmethod
    def sample(cls, rng: np.random.Generator, scale: int = 1) -> "MLPMixer":
        """A random architecture; `scale` as in `TaskMixture`."""
        return cls(
            patch_size=choice(rng, (2, 4)),
            width=log_uniform_power(rng, 16, 32 * scale),
            patch_mlp_width=log_uniform_power(rng, 8, 32 * scale),
            channel_mlp_width=log_uniform_power(rng, 16, 64 * scale),
            depth=int(rng.integers(1, 3 + scale // 4)),
            initializer=choice(rng, sorted(layers.INITIALIZERS)),
            batch_size=log_uniform_power(rng, 8, 16 * scale),
            objective=choice(rng, classification.SAMPLED_OBJECTIVES),
        )

    def mixer_layers(self):
        shapes, norms = {}, {}
        for index in range(self.depth):
            shapes |= layers.stack(f"across_{index}", [self.num_patches, self.patch_mlp_width, self.num_patches])
            shapes |= layers.stack(f"within_{index}", [self.width, self.channel_mlp_width, self.width])
            norms |= {f"norm_{kind}_{index}": layers.init_norm(self.width) for kind in ("across", "within")}
        return shapes, norms, {}

    def mix(self, params, x):
        for index in range(self.depth):
            across = jnp.swapaxes(layers.normalize(params[f"norm_across_{index}"], x), 1, 2)
            x = x + jnp.swapaxes(layers.mlp(params, f"across_{index}", 2, across, "gelu"), 1, 2)
            within = layers.normalize(params[f"norm_within_{index}"], x)
            x = x + layers.mlp(params, f"within_{index}", 2, within, "gelu")
        return x
