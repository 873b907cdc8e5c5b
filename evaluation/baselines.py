"""Hand-designed optimizers by name, each with what may be tuned about it."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import optax
from optax import contrib

Hyperparameters = Mapping[str, Any]
"""Name -> number, traced or not."""


@dataclasses.dataclass(frozen=True)
class LogUniform:
    """A positive number whose logarithm is uniform in [log(low), log(high)]."""

    low: float
    high: float

    def __post_init__(self):
        if not 0 < self.low < self.high < math.inf:
            raise ValueError(f"LogUniform: need 0 < low < high < inf, got {self.low} and {self.high}")


RATES = LogUniform(1e-5, 1.0)
"""Learning rates from 1e-5 to 1, as VeLO's baselines (2211.09760) span them."""


@dataclasses.dataclass(frozen=True)
class Baseline:
    """An optax optimizer, hashed by value; `factory(hyperparameters, num_steps)` takes traced hyperparameters."""

    name: str
    factory: Callable[[Hyperparameters, int], optax.GradientTransformation]
    paper: str
    """arXiv number or a short reference."""
    space: tuple[tuple[str, LogUniform], ...] = ()
    """What is tuned; nothing is tuned if empty."""
    defaults: tuple[tuple[str, float], ...] = ()
    """Hyperparameters of an untuned run."""

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
        return self.factory({**defaults, **hyperparameters}, num_steps)


def _cosine(peak, num_steps: int) -> optax.Schedule:
    """From `peak`, which may be traced, to 0 at the last step."""
    unit = optax.cosine_decay_schedule(1.0, num_steps)
    return lambda count: peak * unit(count)


def _by_name(*baselines: Baseline) -> dict[str, Baseline]:
    return {baseline.name: baseline for baseline in baselines}


_TUNED_RATE = (("learning_rate", RATES),)

BASELINES = _by_name(
    Baseline(
        "adam",
        lambda hyperparameters, num_steps: optax.adam(hyperparameters["learning_rate"]),
        paper="1412.6980",
        space=_TUNED_RATE,
        defaults=(("learning_rate", 1e-3),),
    ),
    Baseline(
        "adam_cosine",
        lambda hyperparameters, num_steps: optax.adam(_cosine(hyperparameters["learning_rate"], num_steps)),
        paper="1412.6980, with the decay of 1608.03983",
        space=_TUNED_RATE,
        defaults=(("learning_rate", 1e-3),),
    ),
    Baseline(
        "sgd_momentum",
        lambda hyperparameters, num_steps: optax.sgd(hyperparameters["learning_rate"], momentum=0.9),
        paper="Polyak 1964",
        space=_TUNED_RATE,
        defaults=(("learning_rate", 1e-2),),
    ),
    Baseline(
        "prodigy_cosine",
        lambda hyperparameters, num_steps: contrib.prodigy(optax.cosine_decay_schedule(1.0, num_steps)),
        paper="2306.06101",
    ),
)
