"""What a comparison says in numbers: pure functions on arrays of losses, lower is better.

Throughout, a non-finite loss counts as +inf: a run that diverged ends at inf, and whatever it had reached before
stays reached. `seeds` axes are paired: index i is the same seed, so the same problem, for every optimizer. No score
depends on the order of seeds or tasks.
"""

from evaluation.scores.duels import TIE, Record, compare, holm, paired_p_value
from evaluation.scores.loss_ratios import interquartile_mean, loss_ratio, probability_of_improvement
from evaluation.scores.profiles import MAX_TAU, performance_profile, profile_score, times_to_target
from evaluation.scores.significance import Interval, bootstrap_interval, stratified_interval
from evaluation.scores.smoothed_losses import (
    diverged,
    final_loss,
    has_unit,
    lower_envelope,
    relative,
    smooth,
    steps_to,
    window,
)
from evaluation.scores.speed_ups import envelope_speed_up, equal_time_losses, in_seconds, speed_up
from evaluation.scores.trials import best_of, worth_trials

__all__ = [
    "MAX_TAU",
    "TIE",
    "Interval",
    "Record",
    "best_of",
    "bootstrap_interval",
    "compare",
    "diverged",
    "envelope_speed_up",
    "equal_time_losses",
    "final_loss",
    "has_unit",
    "holm",
    "in_seconds",
    "interquartile_mean",
    "loss_ratio",
    "lower_envelope",
    "paired_p_value",
    "performance_profile",
    "probability_of_improvement",
    "profile_score",
    "relative",
    "smooth",
    "speed_up",
    "steps_to",
    "stratified_interval",
    "times_to_target",
    "window",
    "worth_trials",
]
