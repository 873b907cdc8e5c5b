"""A grid of learning rates."""

import dataclasses

import numpy as np

from evaluation.tuning.tuner import Tuner, as_setting


@dataclasses.dataclass(frozen=True)
class LogGrid(Tuner):
    """Learning rates log-spaced over the baseline's span, both ends included; all else at its default.

    VeLO (2211.09760) tries Adam at 15 such rates; over [1e-5, 1] neighbours differ by a factor of 10^(5/14), 2.3. A
    baseline without a rate runs its defaults.
    """

    num_rates: int = 15

    def __post_init__(self):
        if not 2 <= self.num_rates <= 1000:
            raise ValueError(f"LogGrid: num_rates must be in [2, 1000], got {self.num_rates}")

    def propose(self, baseline, tried):
        if tried:
            return []
        defaults, span = dict(baseline.defaults), dict(baseline.space).get("learning_rate")
        if span is None:
            return [as_setting(defaults)]
        quantiles = np.linspace(0.0, 1.0, self.num_rates)
        return [as_setting({**defaults, "learning_rate": span.at(float(quantile))}) for quantile in quantiles]

    def max_trials(self, baseline):
        return self.num_rates if "learning_rate" in dict(baseline.space) else 1

    @property
    def words(self):
        return f"{self.num_rates} rates"
