"""Random wrappers around a sampled family, with named sets of probabilities."""

import dataclasses
import functools

import numpy as np

from tasks.families.sampling import choice
from tasks.family import TaskFamily
from tasks.wrappers.delayed_gradient import DelayedGradient
from tasks.wrappers.evolution_gradient import EvolutionGradient
from tasks.wrappers.normalized_gradient import NormalizedGradient
from tasks.wrappers.reduced_batch import ReducedBatch
from tasks.wrappers.reduced_precision import ReducedPrecision
from tasks.wrappers.reparametrized import Reparametrized
from tasks.wrappers.subsampled_gradient import SubsampledGradient

PROBABILITIES = (
    "reparametrize_global",
    "reparametrize_tensor",
    "reparametrize_parameter",
    "evolution_gradient",
    "reduced_batch",
    "reduced_precision",
    "normalized_gradient",
    "subsampled_gradient",
    "delayed_gradient",
)


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Probability of each wrapper. Each is chosen independently, but at most one kind of reparametrisation is used."""

    reparametrize_global: float = 0.0
    reparametrize_tensor: float = 0.0
    reparametrize_parameter: float = 0.0
    decades: tuple[float, ...] = (1.0, 2.0, 3.0)
    """One is chosen at random: the factors of a reparametrisation are log-uniform in [10^-decades, 10^decades]."""
    evolution_gradient: float = 0.0
    reduced_batch: float = 0.0
    reduced_precision: float = 0.0
    normalized_gradient: float = 0.0
    subsampled_gradient: float = 0.0
    delayed_gradient: float = 0.0
    evolution_pairs: tuple[int, ...] = (2,)
    """Numbers of antithetic pairs, one chosen at random. A pair costs two evaluations of the loss."""
    min_batch_share: float = 0.1
    """Least share of a reduced batch."""
    max_directions: int = 8
    """Greatest number of directions of a subsampled gradient; each takes as much memory as the parameters."""

    def __post_init__(self):
        for name in PROBABILITIES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"Augmentation: {name} must be in [0, 1], got {getattr(self, name)}")
        total = self.reparametrize_global + self.reparametrize_tensor + self.reparametrize_parameter
        if total > 1 + 1e-9:
            raise ValueError(f"Augmentation: the kinds of reparametrisation must sum to at most 1, got {total}")
        if not self.decades or min(self.decades) <= 0:
            raise ValueError(f"Augmentation: decades must be positive and not empty, got {self.decades}")
        if not self.evolution_pairs:
            raise ValueError("Augmentation: evolution_pairs must not be empty")

    def apply(self, family: TaskFamily, rng: np.random.Generator) -> TaskFamily:
        """`family` inside randomly chosen wrappers; those that change the gradient of one step lie inside a delay."""
        kind, *chances = rng.random(7)
        decades = choice(rng, self.decades)
        for granularity in ("global", "tensor", "parameter"):
            probability = getattr(self, f"reparametrize_{granularity}")
            if 0 <= kind < probability:
                family = Reparametrized(family, granularity, decades)
            kind -= probability
        evolution = functools.partial(EvolutionGradient, num_pairs=choice(rng, self.evolution_pairs))
        wrappers = (
            (functools.partial(ReducedBatch, min_share=self.min_batch_share), self.reduced_batch),
            (ReducedPrecision, self.reduced_precision),
            (evolution, self.evolution_gradient),
            (functools.partial(SubsampledGradient, max_directions=self.max_directions), self.subsampled_gradient),
            (NormalizedGradient, self.normalized_gradient),
            (DelayedGradient, self.delayed_gradient),
        )
        for (wrapper, probability), chance in zip(wrappers, chances, strict=True):
            if chance < probability:
                family = wrapper(family)
        return family


_VELO = Augmentation(
    reparametrize_global=2 / 7,
    reparametrize_tensor=2 / 7,
    reparametrize_parameter=1 / 7,
    evolution_gradient=0.08,
    reduced_batch=0.2,
    reduced_precision=0.2,
    normalized_gradient=0.05,
    subsampled_gradient=0.08,
    delayed_gradient=0.05,
)

AUGMENTATIONS = {
    "none": Augmentation(),
    "global_scale": Augmentation(reparametrize_global=1.0, decades=(3.0,)),
    "velo": _VELO,
    "velo_published": dataclasses.replace(
        _VELO, evolution_pairs=(1, 2, 4, 8, 16), min_batch_share=0.01, max_directions=64
    ),
}
"""Augmentations by name.

- `global_scale` is Celo's (2501.12670).
- `velo` has VeLO's probabilities (2211.09760), which are the same in its four phases, with strengths that suit a CPU
  core.
- `velo_published` has VeLO's strengths too. Deviation: at most 64 directions, not 1024, since all lie in memory at
  once.
"""
