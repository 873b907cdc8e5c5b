"""What a hand-designed optimizer is to an evaluation."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import optax

from evaluation.baselines.schedules import SCHEDULES, scheduled
from evaluation.baselines.spans import Span

Hyperparameters = Mapping[str, Any]
"""Name -> number, traced or not."""
RATE = "learning_rate"
PEAK_RATE = "peak_rate"
"""The rate without its schedule, for the few factories that need both."""


@dataclasses.dataclass(frozen=True)
class Baseline:
    """An optax optimizer, hashed by value; `factory(hyperparameters, num_steps)` takes traced hyperparameters.

    What the factory gets as "learning_rate" is a number or, under a schedule, a function of the step, as optax's
    optimizers take either. Methods that need no rate get 1 or the schedule's factor.
    """

    name: str
    factory: Callable[[Hyperparameters, int], optax.GradientTransformation]
    paper: str
    """arXiv number or a short reference."""
    space: tuple[tuple[str, Span], ...] = ()
    """What is tuned; nothing is tuned if empty."""
    defaults: tuple[tuple[str, float], ...] = ()
    """Hyperparameters of an untuned run."""
    schedule: str = "constant"
    """Name in `schedules.SCHEDULES`, or "constant"."""
    takes_schedule: bool = True
    evaluation_params: Callable[[Any, Any], Any] | None = None
    """(optimizer state, parameters) -> the point to evaluate, where that isn't the point of the gradients."""

    def __post_init__(self):
        missing = sorted(set(dict(self.space)) - set(dict(self.defaults)))
        if missing:
            raise ValueError(f"baseline {self.name!r} needs a default for {missing[0]!r}")
        if self.schedule != "constant" and not self.takes_schedule:
            raise ValueError(f"baseline {self.name!r} takes no schedule, got {self.schedule!r}")
        if self.schedule not in ("constant", *SCHEDULES):
            known = ", ".join(("constant", *SCHEDULES))
            raise ValueError(f"baseline {self.name!r}: unknown schedule {self.schedule!r}; known: {known}")

    def bind(self, hyperparameters: Hyperparameters, num_steps: int) -> optax.GradientTransformation:
        """The optimizer for a run of `num_steps`; hyperparameters that are left out take their defaults.

        Raises:
            ValueError: on a hyperparameter that the baseline doesn't have.
        """
        defaults = dict(self.defaults)
        unknown = sorted(set(hyperparameters) - set(defaults))
        if unknown:
            known = ", ".join(defaults) or "none"
            raise ValueError(f"baseline {self.name!r} has no hyperparameter {unknown[0]!r}; it has: {known}")
        values = {RATE: 1.0, **defaults, **hyperparameters}
        values[PEAK_RATE] = values[RATE]
        values[RATE] = scheduled(values[RATE], self.schedule, num_steps)
        return self.factory(values, num_steps)

    def with_schedule(self, schedule: str) -> "Baseline":
        """The same under a schedule, with the schedule's name appended to its own."""
        return dataclasses.replace(self, name=f"{self.name}_{schedule}", schedule=schedule)
