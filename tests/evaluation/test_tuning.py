import numpy as np
import pytest

from evaluation import tuning
from evaluation.baselines import BASELINES, LogUniform


def test_the_grid_is_log_spaced_from_end_to_end():
    rates = [setting["learning_rate"] for setting in tuning.log_grid(BASELINES["adam"], 15)]
    assert (len(rates), rates[0], rates[-1]) == (15, 1e-5, 1.0)
    np.testing.assert_allclose(np.diff(np.log10(rates)), 5 / 14, rtol=1e-5)


def test_nothing_to_tune_gives_one_empty_setting():
    assert tuning.log_grid(BASELINES["prodigy_cosine"], 15) == [{}]


def test_the_least_mean_wins_and_a_diverged_seed_disqualifies():
    final = np.array([[3.0, 3.0], [1.0, np.nan], [2.0, 2.5], [0.0, np.inf]])
    assert tuning.choose(final) == 2
    assert tuning.choose(np.full((3, 2), np.nan)) == 0


def test_a_span_must_be_positive_and_ordered():
    with pytest.raises(ValueError, match=r"0 < low < high < inf, got 1\.0 and 0\.1"):
        LogUniform(1.0, 0.1)
