"""P1 in the benchmark's log: final test losses of one seed each, without tuning or schedule.

From SirRob1997/Crowded-Valley---Results, `results/oneshot/none/quadratic_deep`, at commit 47ce79c.
"""

FINAL_LOSSES = {
    "adabound": 87.0846,
    "adadelta": 351.3173,
    "adagrad": 112.1239,
    "adam": 106.6395,
    "amsbound": 97.0389,
    "amsgrad": 88.8603,
    "lookahead_momentum": 87.7027,
    "lookahead_radam": 98.5293,
    "momentum": 87.3647,
    "nadam": 106.5976,
    "nag": 84.7267,
    "radam": 132.6766,
    "rmsprop": 100.6034,
    "sgd": 87.2928,
}
OTHER_DATA = ("amsbound", "nag")
"""Optimizers that ran on other data: their logs begin with batches that no other run with the same seed has."""
COMPARED = ("sgd", "adam", "nadam", "adabound", "adagrad", "adadelta")
"""Optimizers whose losses have to be reproduced."""
TUNED_ADAM = 87.2251
"""Adam's final loss at the best of 75 draws."""
