"""The loss of a step: read from what PyTorch's users pass, added up over backward passes, averaged over replicas."""

import math
from typing import Any

from velo.extras import require

torch: Any = require("torch", "torch", "velo.torch")

MAX_NONFINITE = 10
"""Number of losses in a row that are NaN or infinite at which a run fails."""


def scalar(loss: Any, device: Any) -> Any:
    """A tensor of one entry, or a number, as a float32 tensor of rank 0 on `device`, detached from its graph.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(loss, torch.Tensor):
        if loss.numel() != 1:
            raise ValueError(f"the loss has to be a scalar, got shape {tuple(loss.shape)}: take its mean")
        return loss.detach().reshape(()).to(device, torch.float32)
    try:
        return torch.tensor(float(loss), dtype=torch.float32, device=device)
    except (TypeError, ValueError):
        raise ValueError(f"the loss has to be a scalar tensor or a number, got {type(loss).__name__}") from None


def mean_over_replicas(loss: Any, process_group: Any) -> Any:
    """The mean over the ranks of `process_group`, the same number on each of them, so that replicas stay equal.

    Args:
        loss: tensor of rank 0.
        process_group: None is PyTorch's default group, where there is one; False leaves the loss as it is.
    """
    distributed = torch.distributed
    if process_group is False or not (distributed.is_available() and distributed.is_initialized()):
        return loss
    total = loss.clone()
    distributed.all_reduce(total, group=process_group)
    return total / distributed.get_world_size(process_group)


class NonFiniteLosses:
    """Counts losses in a row that are NaN or infinite."""

    def __init__(self) -> None:
        self.num_in_a_row = 0

    def add(self, value: float) -> None:
        """Raises FloatingPointError at the tenth in a row."""
        self.num_in_a_row = 0 if math.isfinite(value) else self.num_in_a_row + 1
        if self.num_in_a_row >= MAX_NONFINITE:
            raise FloatingPointError(
                f"the loss was {value} for {MAX_NONFINITE} steps in a row: look for bad values in the data, and "
                "for logarithms, divisions and roots; torch.autograd.set_detect_anomaly(True) finds the operation"
            )
