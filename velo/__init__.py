"""VeLO: learned optimizers on today's JAX."""

from velo.architectures import ARCHITECTURES
from velo.architectures.velo import VeLO
from velo.learned_optimizer import LearnedOptimizer, Theta
from velo.tensor_file import WeightsError
from velo.transformation import optimizer
from velo.weights import WeightsInfo, load_weights, save_weights, weights_info

__all__ = [
    "ARCHITECTURES",
    "LearnedOptimizer",
    "Theta",
    "VeLO",
    "WeightsError",
    "WeightsInfo",
    "load_weights",
    "optimizer",
    "save_weights",
    "weights_info",
]
