"""Warnings about an `lr` that was meant for another optimizer: it is a factor on steps that have a schedule already."""

import warnings
from collections.abc import Sequence
from typing import Any

SMALLEST_SCALE = 0.1
"""A factor below this was probably meant as a learning rate."""


class StepScaleWarnings:
    """Looks at the groups at each step, and warns of each mistake once."""

    def __init__(self) -> None:
        self._size_is_checked = False
        self._decay_is_told = False
        self._last: list[float] = []

    def look(self, groups: Sequence[dict[str, Any]]) -> None:
        """Warns if all factors are small at the first step where one isn't zero. Warns when a factor first falls to a
        value above zero.
        """
        scales = [float(group["lr"]) for group in groups]
        if not self._size_is_checked and any(scales):
            self._size_is_checked = True
            _warn_if_small(groups)
        falls = [(old, new) for old, new in zip(self._last, scales, strict=False) if 0 < new < old]
        if falls and not self._decay_is_told:
            self._decay_is_told = True
            old, new = falls[0]
            warnings.warn(
                f"a group's lr fell from {old:g} to {new:g}: the learned steps end in a decay of their own at "
                "num_steps, and another one on top costs progress. Take no scheduler, or one that warms up and then "
                "stays at 1 (lr_scheduler_type='constant' in the Trainer of Hugging Face)",
                stacklevel=2,
            )
        self._last = scales


def _warn_if_small(groups: Sequence[dict[str, Any]]) -> None:
    """Reads `initial_lr` and `max_lr` too: a scheduler's warm-up starts small and keeps its final factor there."""
    largest = max(float(group.get(name, 0.0)) for group in groups for name in ("lr", "initial_lr", "max_lr"))
    if largest < SMALLEST_SCALE:
        warnings.warn(
            f"lr={largest:g} looks like a learning rate, and here it is a factor on the learned steps, which are then "
            f"{1 / largest:.3g} times as small: leave it at 1, unless this begins a warm-up",
            stacklevel=2,
        )
