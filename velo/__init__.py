"""VeLO: learned optimizers on current JAX."""

import importlib
import importlib.metadata
from typing import Any

import velo.requirements  # noqa: F401, first: an old JAX may fail in any of the others

# isort: split
from velo import bridge, diagnostics
from velo.architectures import ARCHITECTURES
from velo.architectures.published.adafac_mlp import AdafacMLP
from velo.architectures.published.celo import Celo, CeloAdam
from velo.architectures.published.celo2 import Celo2
from velo.architectures.published.hyper_v2 import HyperV2
from velo.architectures.published.rnn_mlp import RNNMLP
from velo.architectures.velo.architecture import VeLO
from velo.architectures.velo.matrices import MatrixAxes
from velo.averaging import averaged, averaged_params
from velo.learned_optimizer import LearnedOptimizer, Theta
from velo.training import Fitted, History, NonFiniteLossError, fit
from velo.transformation import optimizer
from velo.weights import DEFAULT_WEIGHTS, WeightsInfo, load_weights, save_weights, weights_info
from velo.weights.tensor_file import WeightsError

LAZY = ("keras", "torch")  # need their extras


def __getattr__(name: str) -> Any:
    if name in LAZY:
        return importlib.import_module(f"velo.{name}")
    raise AttributeError(f"module 'velo' has no attribute {name!r}")


__version__ = importlib.metadata.version("velo")

__all__ = [
    "ARCHITECTURES",
    "DEFAULT_WEIGHTS",
    "RNNMLP",
    "AdafacMLP",
    "Celo",
    "Celo2",
    "CeloAdam",
    "Fitted",
    "History",
    "HyperV2",
    "LearnedOptimizer",
    "MatrixAxes",
    "NonFiniteLossError",
    "Theta",
    "VeLO",
    "WeightsError",
    "WeightsInfo",
    "__version__",
    "averaged",
    "averaged_params",
    "bridge",
    "diagnostics",
    "fit",
    "load_weights",
    "optimizer",
    "save_weights",
    "weights_info",
]
