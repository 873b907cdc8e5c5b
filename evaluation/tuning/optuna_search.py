"""Search by Optuna's tree-structured Parzen estimator, an extra: `pip install 'velo[optuna]'`."""

import dataclasses
import math

from evaluation.baselines import Baseline
from evaluation.tuning.tuner import Setting, Tuner, as_setting

SEED = 0
MAX_LOSS = 1e30  # Optuna takes no infinities


@dataclasses.dataclass(frozen=True)
class OptunaSearch(Tuner):
    """The defaults first, then batches of proposals, each told the losses of all before.

    The study is built again from what was tried, so that an interrupted search proposes what it would have.
    """

    num_trials: int = 25
    batch_size: int = 5

    def __post_init__(self):
        if not 1 <= self.num_trials <= 10_000:
            raise ValueError(f"OptunaSearch: num_trials must be in [1, 10000], got {self.num_trials}")

    def propose(self, baseline, tried):
        num_tried = len(tried)
        if num_tried >= self.max_trials(baseline):
            return []
        if not num_tried:
            return [as_setting(dict(baseline.defaults))]
        study = _study()
        for begin in range(1, num_tried, self.batch_size):
            batch = tried[begin : begin + self.batch_size]
            trials = [study.ask() for _ in batch]
            asked = [_setting(trial, baseline) for trial in trials]
            assert asked == [setting for setting, _ in batch], "the study has to repeat itself"
            for trial, (_, loss) in zip(trials, batch, strict=True):
                study.tell(trial, loss if math.isfinite(loss) else MAX_LOSS)
        size = min(self.batch_size, self.num_trials - num_tried)
        return [_setting(study.ask(), baseline) for _ in range(size)]

    def max_trials(self, baseline):
        return self.num_trials if baseline.space else 1

    @property
    def words(self):
        return f"{self.num_trials} trials by Optuna"


def _study():
    try:
        import optuna
    except ImportError:
        raise ValueError("tuning with @optuna needs Optuna: pip install 'velo[optuna]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(sampler=optuna.samplers.TPESampler(seed=SEED))


def _setting(trial, baseline: Baseline) -> Setting:
    quantiles = {name: trial.suggest_float(name, 0.0, 1.0) for name, _ in baseline.space}
    values = {name: span.at(quantiles[name]) for name, span in baseline.space}
    return as_setting({**dict(baseline.defaults), **values})
