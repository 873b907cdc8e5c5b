"""Distributions that hyperparameters are drawn from."""

import abc
import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Span(abc.ABC):
    """A distribution over [low, high], given by its quantile function, so that every tuner can draw from it."""

    low: float
    high: float

    @abc.abstractmethod
    def at(self, quantile: float) -> float:
        """The value at `quantile` in [0, 1], to six significant digits."""


@dataclasses.dataclass(frozen=True)
class LogUniform(Span):
    """A positive number whose logarithm is uniform in [log(low), log(high)].

    Raises:
        ValueError: unless 0 < low < high < inf.
    """

    def __post_init__(self):
        if not 0 < self.low < self.high < math.inf:
            raise ValueError(f"LogUniform: need 0 < low < high < inf, got {self.low} and {self.high}")

    def at(self, quantile):
        return float(f"{self.low * (self.high / self.low) ** quantile:.6g}")


@dataclasses.dataclass(frozen=True)
class Decay(Span):
    """The decay of a moving average: 1 - value is log-uniform, so that long and short averages are tried equally.

    Raises:
        ValueError: unless 0 <= low < high < 1.
    """

    def __post_init__(self):
        if not 0 <= self.low < self.high < 1:
            raise ValueError(f"Decay: need 0 <= low < high < 1, got {self.low} and {self.high}")

    def at(self, quantile):
        return float(f"{1 - (1 - self.low) * ((1 - self.high) / (1 - self.low)) ** quantile:.6g}")
