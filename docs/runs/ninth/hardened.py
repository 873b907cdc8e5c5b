"""`varied`, with deep networks without skip connections and gradients known along random directions."""

import dataclasses

from tasks.families import layers
from tasks.families.mlp_classifier import MLPClassifier
from tasks.families.sampling import choice
from tasks.mixture import Mixture, TaskMixture, WeightedMixtures, get_mixture
from tasks.wrappers.subsampled_gradient import SubsampledGradient


class DeepMLP(MLPClassifier):
    """Six to twenty-four narrow layers."""

    @classmethod
    def sample(cls, rng, scale=1):
        depth = round(6.0 * 4.0 ** rng.random())
        return MLPClassifier(
            widths=(choice(rng, (16, 24, 32)),) * depth,
            activation=choice(rng, sorted(layers.ACTIVATIONS)),
            norm=choice(rng, ("layer", "layer", "none")),
            batch_size=choice(rng, (32, 64)),
        )


@dataclasses.dataclass(frozen=True)
class AlongDirections(Mixture):
    """Samples of `inner`, whose gradients are known along 1 to 8 random directions only."""

    inner: Mixture

    def sample(self, rng, place=None):
        return SubsampledGradient(self.inner.sample(rng, place))

    def capped(self, max_step_seconds):
        return AlongDirections(self.inner.capped(max_step_seconds))


_IMAGES = ("digits", "textures")
mixture = WeightedMixtures(
    (
        (get_mixture("varied").mixture, 0.65),
        (TaskMixture(((DeepMLP, 1.0),), image_datasets=_IMAGES), 0.22),
        (AlongDirections(TaskMixture(((MLPClassifier, 1.0),), image_datasets=_IMAGES)), 0.13),
    )
)
