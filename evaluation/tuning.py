"""Tuners: which hyperparameters of a baseline are tried, and which of them wins.

A tuner is asked for settings until it proposes none:

    tried = []
    while batch := tuner.propose(baseline, tried):
        tried += [(setting, mean_final_loss(setting)) for setting in batch]
    best = choose(final_losses)  # of all settings that were tried

`LogGrid`, `OneShot`, `RandomSearch` and `OptunaSearch` are the tuners of `velo-evaluate`.
"""

import abc
import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np

from evaluation.baselines import Baseline, Span
from velo.shapes import Float

Setting = tuple[tuple[str, float], ...]
"""(hyperparameter, value) pairs, sorted by name; hyperparameters that are left out have their defaults."""
Tried = tuple[Setting, float]
"""A setting and its mean final loss over the tuning seeds; inf if the final loss of a seed isn't finite."""
OPTUNA_SEED = 0
OPTUNA_MAX_LOSS = 1e30
"""Loss that Optuna gets in place of a non-finite one, which it refuses."""


class Tuner(abc.ABC):
    """A strategy for choosing hyperparameters: a frozen dataclass.

    Its proposals depend only on the baseline and on what was tried. So an interrupted search, continued, tries the same
    settings as an uninterrupted one.
    """

    @abc.abstractmethod
    def propose(self, baseline: Baseline, tried: Sequence[Tried]) -> list[Setting]:
        """The settings to try next.

        Args:
            baseline: the optimizer; its `space` is searched, starting from its `defaults`.
            tried: all settings that were proposed before, in that order, with their losses.

        Returns:
            Settings to try before the next call; none once the budget is spent. The first call returns at least one.
        """

    @abc.abstractmethod
    def max_trials(self, baseline: Baseline) -> int:
        """Upper bound on the number of settings that are tried, at least 1."""

    @property
    @abc.abstractmethod
    def words(self) -> str:
        """The budget in words, for the report: `25 random trials`."""


def as_setting(hyperparameters: Mapping[str, float]) -> Setting:
    """Hyperparameters by name as a hashable value."""
    return tuple(sorted(hyperparameters.items()))


def choose(final_losses: Float[np.ndarray, "settings seeds"]) -> int:
    """Index of the setting with the least mean final loss over the tuning seeds.

    A non-finite loss counts as inf, so a setting with one can't win against a setting without. The first of equal
    settings wins, also if all are inf.
    """
    finite = np.where(np.isfinite(final_losses), final_losses, np.inf)
    return int(np.argmin(finite.mean(axis=1)))


@dataclasses.dataclass(frozen=True)
class OneShot(Tuner):
    """No tuning: the defaults alone."""

    def propose(self, baseline, tried):
        """The defaults, once."""
        return [] if tried else [as_setting(dict(baseline.defaults))]

    def max_trials(self, baseline):
        """1."""
        return 1

    @property
    def words(self):
        """`defaults`."""
        return "defaults"


@dataclasses.dataclass(frozen=True)
class LogGrid(Tuner):
    """Log-spaced learning rates over the baseline's span, both ends included; the other hyperparameters at defaults.

    VeLO (2211.09760) tries Adam at 15 such rates in [1e-5, 1]: neighbours differ by a factor of 10^(5/14) = 2.3. A
    baseline whose learning rate isn't in its space runs once, at its defaults.

    Raises:
        ValueError: num_rates isn't in [2, 1000].
    """

    num_rates: int = 15

    def __post_init__(self):
        if not 2 <= self.num_rates <= 1000:
            raise ValueError(f"LogGrid: num_rates must be in [2, 1000], got {self.num_rates}")

    def propose(self, baseline, tried):
        """The whole grid at once."""
        if tried:
            return []
        defaults, span = dict(baseline.defaults), dict(baseline.space).get("learning_rate")
        if span is None:
            return [as_setting(defaults)]
        quantiles = np.linspace(0.0, 1.0, self.num_rates)
        return [as_setting({**defaults, "learning_rate": span.at(float(quantile))}) for quantile in quantiles]

    def max_trials(self, baseline):
        """The number of rates; 1 for a baseline whose learning rate isn't tuned."""
        return self.num_rates if "learning_rate" in dict(baseline.space) else 1

    @property
    def words(self):
        """`15 rates`."""
        return f"{self.num_rates} rates"


@dataclasses.dataclass(frozen=True)
class RandomSearch(Tuner):
    """The defaults, then independent random draws from the search space.

    Budgets nest: 25 trials are the first 25 of 75, and one trial is the defaults. So a larger budget never does worse
    on the tuning seeds. Each hyperparameter has a random stream of its own, seeded by its name and span. So optimizers
    that share a hyperparameter and its span try the same values of it.

    Deviation: in 2007.01547 the search doesn't include the defaults.

    Raises:
        ValueError: num_trials isn't in [1, 10000].
    """

    num_trials: int = 25

    def __post_init__(self):
        if not 1 <= self.num_trials <= 10_000:
            raise ValueError(f"RandomSearch: num_trials must be in [1, 10000], got {self.num_trials}")

    def propose(self, baseline, tried):
        """All trials at once."""
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
        """The budget; 1 for a baseline without a search space."""
        return self.num_trials if baseline.space else 1

    @property
    def words(self):
        """`25 random trials`."""
        return f"{self.num_trials} random trials"


def _stream(name: str, span: Span, num_draws: int) -> list[float]:
    """Draws of one hyperparameter; a longer list starts with the shorter one."""
    digest = hashlib.sha256(f"{name} {span}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    return [span.at(float(quantile)) for quantile in rng.uniform(size=num_draws)]


@dataclasses.dataclass(frozen=True)
class OptunaSearch(Tuner):
    """The defaults, then batches of proposals by Optuna's tree-structured Parzen estimator (`velo[optuna]`).

    For each batch Optuna knows the losses of all batches before it, but not that of the defaults. Every call builds the
    study again from what was tried, so an interrupted search proposes the same settings as an uninterrupted one.

    Raises:
        ValueError: num_trials isn't in [1, 10000].
    """

    num_trials: int = 25
    batch_size: int = 5

    def __post_init__(self):
        if not 1 <= self.num_trials <= 10_000:
            raise ValueError(f"OptunaSearch: num_trials must be in [1, 10000], got {self.num_trials}")

    def propose(self, baseline, tried):
        """The next batch.

        Raises:
            ValueError: in one line, if Optuna isn't installed.
        """
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
            assert asked == [setting for setting, _ in batch], "Optuna proposed other settings than it did before"
            for trial, (_, loss) in zip(trials, batch, strict=True):
                study.tell(trial, loss if math.isfinite(loss) else OPTUNA_MAX_LOSS)
        num_proposals = min(self.batch_size, self.num_trials - num_tried)
        return [_setting(study.ask(), baseline) for _ in range(num_proposals)]

    def max_trials(self, baseline):
        """The budget; 1 for a baseline without a search space."""
        return self.num_trials if baseline.space else 1

    @property
    def words(self):
        """`25 trials by Optuna`."""
        return f"{self.num_trials} trials by Optuna"


def _study():
    """A new Optuna study with a seeded sampler."""
    try:
        import optuna
    except ImportError:
        raise ValueError("tuning with @optuna needs Optuna: pip install 'velo[optuna]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(sampler=optuna.samplers.TPESampler(seed=OPTUNA_SEED))


def _setting(trial, baseline: Baseline) -> Setting:
    """The setting that an Optuna trial proposes: Optuna searches over quantiles, which the spans turn into values."""
    quantiles = {name: trial.suggest_float(name, 0.0, 1.0) for name, _ in baseline.space}
    values = {name: span.at(quantiles[name]) for name, span in baseline.space}
    return as_setting({**dict(baseline.defaults), **values})
