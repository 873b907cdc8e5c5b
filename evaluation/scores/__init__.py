"""Scores of a comparison: pure functions on arrays of losses, where lower is better.

A non-finite loss counts as +inf. A run that ends non-finite has the final loss inf, but keeps the losses that it
reached before. Axes called `seeds` are paired: index i is the same seed, and so the same problem, for every optimizer.
No score depends on the order of seeds or tasks.

- `speed_ups`: speed-ups, times to a target, performance profiles
- `loss_ratios`: ratios of final losses, probability of improvement, the value of tuning
- `significance`: bootstrap intervals, wins and losses, paired tests
- `smoothed_losses`: the basis of the others: smoothing, final loss, divergence
"""

from evaluation.scores.loss_ratios import (
    best_of,
    geometric_mean_ratio,
    interquartile_mean,
    loss_ratio,
    probability_of_improvement,
    worth_trials,
)
from evaluation.scores.significance import (
    TIE,
    Interval,
    Record,
    bootstrap_interval,
    compare,
    holm,
    nested_interval,
    paired_p_value,
    stratified_interval,
)
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
from evaluation.scores.speed_ups import (
    MAX_TAU,
    envelope_speed_up,
    equal_time_losses,
    in_seconds,
    performance_profile,
    profile_score,
    share_faster,
    speed_up,
    times_to_target,
)

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
    "geometric_mean_ratio",
    "has_unit",
    "holm",
    "in_seconds",
    "interquartile_mean",
    "loss_ratio",
    "lower_envelope",
    "nested_interval",
    "paired_p_value",
    "performance_profile",
    "probability_of_improvement",
    "profile_score",
    "relative",
    "share_faster",
    "smooth",
    "speed_up",
    "steps_to",
    "stratified_interval",
    "times_to_target",
    "window",
    "worth_trials",
]
