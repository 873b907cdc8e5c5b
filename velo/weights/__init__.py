"""Weights files: theta with its architecture, ours and the released formats."""

from velo.weights.tensor_file import WeightsError
from velo.weights.weights_file import (
    DEFAULT_WEIGHTS,
    LIGHT_WEIGHTS,
    WeightsInfo,
    check_saveable,
    load_weights,
    save_weights,
    weights_info,
)

__all__ = [
    "DEFAULT_WEIGHTS",
    "LIGHT_WEIGHTS",
    "WeightsError",
    "WeightsInfo",
    "check_saveable",
    "load_weights",
    "save_weights",
    "weights_info",
]
