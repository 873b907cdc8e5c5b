import numpy as np
import pytest

from evaluation.baselines import BASELINES
from evaluation.tuning import LogGrid, OneShot, OptunaSearch, RandomSearch, choose

ADAM, PRODIGY = BASELINES["adam"], BASELINES["prodigy"]
DEFAULTS = tuple(sorted(ADAM.defaults))


def test_the_grid_is_log_spaced_from_end_to_end_and_keeps_the_other_defaults():
    settings = [dict(setting) for setting in LogGrid(15).propose(ADAM, [])]
    rates = [setting["learning_rate"] for setting in settings]
    assert (len(rates), rates[0], rates[-1]) == (15, 1e-5, 1.0)
    np.testing.assert_allclose(np.diff(np.log10(rates)), 5 / 14, rtol=1e-4)
    assert {(setting["b1"], setting["b2"]) for setting in settings} == {(0.9, 0.999)}


@pytest.mark.parametrize("tuner", [LogGrid(15), OneShot(), RandomSearch(25), OptunaSearch(25)])
def test_nothing_to_tune_gives_one_empty_setting(tuner):
    assert tuner.propose(PRODIGY, []) == [()]
    assert tuner.propose(PRODIGY, [((), 1.0)]) == []
    assert tuner.max_trials(PRODIGY) == 1


def test_budgets_of_a_random_search_nest_and_begin_with_the_defaults():
    one, small, large = (RandomSearch(number).propose(ADAM, []) for number in (1, 25, 75))
    assert one == OneShot().propose(ADAM, []) == [DEFAULTS]
    assert small == large[:25]
    assert len(set(large)) == 75
    for setting in large:
        assert all(span.low <= dict(setting)[name] <= span.high for name, span in ADAM.space)
    assert RandomSearch(25).propose(ADAM, [(DEFAULTS, 1.0)]) == []


def test_optimizers_that_share_a_hyperparameter_are_tried_at_the_same_values():
    adam, radam, sgd = (
        [dict(s) for s in RandomSearch(9).propose(BASELINES[n], [])[1:]] for n in ("adam", "radam", "sgd")
    )
    assert adam == radam
    assert [setting["learning_rate"] for setting in adam] == [setting["learning_rate"] for setting in sgd]


def test_optuna_repeats_itself_after_an_interruption_and_finds_a_good_rate():
    pytest.importorskip("optuna")
    tuner = OptunaSearch(16, batch_size=5)

    def search():
        tried = []
        while batch := tuner.propose(ADAM, tried):
            for setting in batch:
                rate = dict(setting)["learning_rate"]
                tried.append((setting, np.inf if rate > 0.3 else abs(np.log10(rate) + 2.0)))
        return tried

    tried = search()
    assert tried == search()
    assert len(tried) == 16
    assert tried[0][0] == DEFAULTS
    assert tuner.propose(ADAM, tried[:6]) == [setting for setting, _ in tried[6:11]]
    assert tuner.propose(ADAM, tried[:11]) == [setting for setting, _ in tried[11:16]]
    assert min(loss for _, loss in tried) < 0.5


def test_the_least_mean_wins_and_a_diverged_seed_disqualifies():
    final = np.array([[3.0, 3.0], [1.0, np.nan], [2.0, 2.5], [0.0, np.inf]])
    assert choose(final) == 2
    assert choose(np.full((3, 2), np.nan)) == 0


def test_budgets_have_ranges():
    with pytest.raises(ValueError, match=r"num_rates must be in \[2, 1000\], got 1"):
        LogGrid(1)
    with pytest.raises(ValueError, match=r"num_trials must be in \[1, 10000\], got 0"):
        RandomSearch(0)
    with pytest.raises(ValueError, match=r"num_trials must be in \[1, 10000\], got 0"):
        OptunaSearch(0)
