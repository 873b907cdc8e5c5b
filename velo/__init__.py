"""VeLO: learned optimizers on today's JAX."""

import importlib.metadata

from velo import bridge
from velo.architectures import ARCHITECTURES
from velo.architectures.adafac_mlp import AdafacMLP
from velo.architectures.celo import Celo, CeloAdam
from velo.architectures.celo2 import Celo2
from velo.architectures.hyper_v2 import HyperV2
from velo.architectures.rnn_mlp import RNNMLP
from velo.architectures.velo import VeLO
from velo.learned_optimizer import LearnedOptimizer, Theta
from velo.tensor_file import WeightsError
from velo.transformation import optimizer
from velo.weights import WeightsInfo, load_weights, save_weights, weights_info

__version__ = importlib.metadata.version("velo")

__all__ = [
    "ARCHITECTURES",
    "RNNMLP",
    "AdafacMLP",
    "Celo",
    "Celo2",
    "CeloAdam",
    "HyperV2",
    "LearnedOptimizer",
    "Theta",
    "VeLO",
    "WeightsError",
    "WeightsInfo",
    "__version__",
    "bridge",
    "load_weights",
    "optimizer",
    "save_weights",
    "weights_info",
]
