"""No tuning."""

import dataclasses

from evaluation.tuning.tuner import Tuner, as_setting


@dataclasses.dataclass(frozen=True)
class OneShot(Tuner):
    """The defaults alone."""

    def propose(self, baseline, tried):
        return [] if tried else [as_setting(dict(baseline.defaults))]

    def max_trials(self, baseline):
        return 1

    @property
    def words(self):
        return "defaults"
