"""Random search in prefixes that nest."""

import dataclasses
import hashlib

import numpy as np

from evaluation.baselines import Span
from evaluation.tuning.tuner import Tuner, as_setting


@dataclasses.dataclass(frozen=True)
class RandomSearch(Tuner):
    """The defaults, then independent draws from the space: 25 trials are the first 25 of 75, one is the defaults.

    Each hyperparameter has a stream of its own, by its name and span, so that optimizers that share one are tried at
    the same values. Deviation: in 2007.01547 the defaults are no part of the search; here no budget does worse on its
    tuning seed than a smaller one.
    """

    num_trials: int = 25

    def __post_init__(self):
        if not 1 <= self.num_trials <= 10_000:
            raise ValueError(f"RandomSearch: num_trials must be in [1, 10000], got {self.num_trials}")

    def propose(self, baseline, tried):
        if tried:
            return []
        defaults = dict(baseline.defaults)
        draws = {name: _stream(name, span, self.num_trials - 1) for name, span in baseline.space}
        return [
            as_setting(defaults),
            *(
                as_setting({**defaults, **{name: values[index] for name, values in draws.items()}})
                for index in range(self.max_trials(baseline) - 1)
            ),
        ]

    def max_trials(self, baseline):
        return self.num_trials if baseline.space else 1

    @property
    def words(self):
        return f"{self.num_trials} random trials"


def _stream(name: str, span: Span, num_draws: int) -> list[float]:
    digest = hashlib.sha256(f"{name} {span}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    return [span.at(float(quantile)) for quantile in rng.uniform(size=num_draws)]
