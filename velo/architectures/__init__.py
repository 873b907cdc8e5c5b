"""The learned optimizers, one file an architecture."""

from velo.architectures.velo import VeLO
from velo.learned_optimizer import LearnedOptimizer

ARCHITECTURES: dict[str, type[LearnedOptimizer]] = {cls.__name__: cls for cls in (VeLO,)}
"""By the name that weights files use."""
