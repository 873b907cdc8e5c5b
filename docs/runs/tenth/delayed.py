"""`hardened` of the ninth run, with gradients that arrive late."""

import dataclasses

from hardened import AlongDirections, DeepMLP

from tasks.families.mlp_classifier import MLPClassifier
from tasks.mixture import Mixture, TaskMixture, WeightedMixtures, get_mixture
from tasks.wrappers.delayed_gradient import DelayedGradient


@dataclasses.dataclass(frozen=True)
class Delayed(Mixture):
    """Samples of `inner`, whose gradients arrive 1 to 8 steps late."""

    inner: Mixture

    def sample(self, rng, place=None):
        return DelayedGradient(self.inner.sample(rng, place))

    def capped(self, max_step_seconds):
        return Delayed(self.inner.capped(max_step_seconds))


_IMAGES = ("digits", "textures")
_varied = get_mixture("varied").mixture
mixture = WeightedMixtures(
    (
        (_varied, 0.56),
        (Delayed(_varied), 0.2),
        (TaskMixture(((DeepMLP, 1.0),), image_datasets=_IMAGES), 0.14),
        (AlongDirections(TaskMixture(((MLPClassifier, 1.0),), image_datasets=_IMAGES)), 0.1),
    )
)
