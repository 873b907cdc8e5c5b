import numpy as np
import pytest

from evaluation import scores

# 100 steps, so the window is 10. `falling` is 100, 99, ..., 1.
FALLING = np.arange(100.0, 0.0, -1.0)
FAST = np.maximum(100.0 - 2.0 * np.arange(100.0), 1.0)


@pytest.mark.parametrize(("num_steps", "width"), [(4, 4), (10, 10), (100, 10), (200, 10), (1000, 50)])
def test_window_is_the_larger_of_ten_and_five_percent_and_fits(num_steps, width):
    assert scores.window(num_steps) == width


def test_final_loss_is_the_mean_of_the_tail():
    assert scores.final_loss(FALLING) == np.mean(np.arange(1, 11))


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_nonfinite_loss_in_the_tail_makes_the_final_loss_infinite(broken):
    losses = FALLING.copy()
    losses[95] = broken
    assert scores.final_loss(losses) == np.inf


def test_smooth_is_a_trailing_mean_that_starts_short():
    smoothed = scores.smooth(FALLING)
    np.testing.assert_allclose(smoothed[:3], [100.0, 99.5, 99.0])
    assert smoothed[-1] == scores.final_loss(FALLING)


def test_smooth_is_infinite_only_while_the_nonfinite_loss_is_in_the_window():
    losses = FALLING.copy()
    losses[30] = np.nan
    np.testing.assert_array_equal(np.flatnonzero(np.isinf(scores.smooth(losses))), np.arange(30, 40))


def test_lower_envelope_never_rises():
    np.testing.assert_array_equal(scores.lower_envelope(np.array([3.0, 1.0, np.inf, 2.0, 0.5])), [3, 1, 1, 1, 0.5])


@pytest.mark.parametrize(("target", "steps"), [(3.0, 1), (1.5, 2), (0.5, 4), (0.4, np.inf)])
def test_steps_to_counts_from_one(target, steps):
    assert scores.steps_to(np.array([3.0, 1.0, 1.0, 0.5]), target) == steps


def test_speed_up_of_the_baseline_over_itself_is_one_even_where_it_ends_above_its_least():
    rising = np.concatenate([FALLING, np.full(20, 30.0)])
    assert scores.speed_up(rising[None], rising[None]) == 1.0


def test_speed_up_counts_the_steps_to_the_baselines_final_loss():
    # Baseline: the mean of its last ten is 5.5, after 100 steps. FAST falls by 2 a step down to 1: its ten losses up to
    # step 53 are 14, 12, 10, 8, 6, 4, 2, 1, 1, 1 with mean 5.9, up to step 54 it is 4.6.
    assert scores.speed_up(FAST[None], FALLING[None]) == pytest.approx(100 / 54)


def test_speed_up_is_zero_where_the_loss_is_never_reached():
    assert scores.speed_up(FALLING[None] + 1.0, FALLING[None]) == 0.0


def test_speed_up_is_nan_over_a_diverged_baseline():
    assert np.isnan(scores.speed_up(FALLING[None], np.full((1, 100), np.nan)))


def test_a_run_that_diverges_after_the_target_has_reached_it():
    losses = FAST.copy()
    losses[60:] = np.nan
    assert scores.speed_up(losses[None], FALLING[None]) == pytest.approx(100 / 54)
    assert scores.final_loss(losses) == np.inf


def test_every_seed_weighs_the_same_in_a_speed_up_whatever_its_scale():
    baseline = np.stack([FALLING, 1000.0 * FALLING])
    assert scores.speed_up(np.stack([FAST, 1000.0 * FALLING]), baseline) == scores.speed_up(
        np.stack([FALLING, 1000.0 * FAST]), baseline
    )


def test_envelope_speed_up_takes_the_best_setting_at_every_step():
    # Setting 0 is at 5.5 after 100 steps, setting 1 after 54; the optimizer needs 100 for its own 5.5.
    settings = np.stack([FALLING, FAST])[:, None]
    assert scores.envelope_speed_up(FALLING[None], settings[:1]) == 1.0
    assert scores.envelope_speed_up(FALLING[None], settings) == pytest.approx(54 / 100)
    assert scores.envelope_speed_up(FAST[None], settings[:1]) == np.inf
    assert scores.envelope_speed_up(np.full((1, 100), np.nan), settings) == 0.0


def test_loss_ratio_is_a_geometric_mean_over_pairs():
    assert scores.loss_ratio(np.array([2.0, 1.0]), np.array([1.0, 8.0])) == pytest.approx(0.5)
    assert scores.loss_ratio(np.array([2.0, np.inf]), np.array([1.0, 1.0])) == np.inf
    assert np.isnan(scores.loss_ratio(np.array([2.0]), np.array([np.inf])))
    assert np.isnan(scores.loss_ratio(np.array([2.0]), np.array([-1.0])))


def test_compare_counts_wins_ties_and_losses():
    final = np.array([0.9, 1.001, 1.2, np.nan, np.inf, 5.0])
    baseline = np.array([1.0, 1.0, 1.0, 1.0, np.nan, np.inf])
    assert scores.compare(final, baseline) == scores.Record(wins=2, ties=2, losses=2)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [(FALLING, False), (FALLING[::-1] * 3, True), (np.where(np.arange(100) == 3, np.nan, FALLING), True)],
)
def test_diverged(losses, expected):
    assert bool(scores.diverged(losses)) is expected


def test_bootstrap_interval_of_a_mean_matches_its_exact_distribution():
    # Two seeds at 0 and 1: the resampled mean is 0, .5 or 1 with probabilities 1/4, 1/2, 1/4.
    def mean(sample):
        return float(sample.mean())

    assert scores.bootstrap_interval(mean, np.array([0.0, 1.0])) == (0.0, 1.0)
    assert scores.bootstrap_interval(mean, np.array([0.0, 1.0]), level=0.3) == (0.5, 0.5)
    assert scores.bootstrap_interval(mean, np.array([2.0, 2.0, 2.0])) == (2.0, 2.0)
    assert np.isnan(scores.bootstrap_interval(mean, np.array([1.0])).low)


def test_bootstrap_interval_draws_pairs_together():
    a = np.array([1.0, 2.0, 4.0])
    low, high = scores.bootstrap_interval(scores.loss_ratio, 2.0 * a, a)
    assert low == pytest.approx(2.0)
    assert high == pytest.approx(2.0)


def test_scores_do_not_depend_on_the_order_of_the_seeds():
    rng = np.random.default_rng(0)
    baseline = FALLING * rng.uniform(0.5, 2.0, (5, 1)) + rng.normal(size=(5, 100))
    losses = FAST * rng.uniform(0.5, 2.0, (5, 1)) + rng.normal(size=(5, 100)) + 3.0
    order = [3, 0, 4, 2, 1]
    final, reference = scores.final_loss(losses), scores.final_loss(baseline)
    assert scores.speed_up(losses, baseline) == scores.speed_up(losses[order], baseline[order])
    assert scores.loss_ratio(final, reference) == pytest.approx(scores.loss_ratio(final[order], reference[order]))
    assert scores.compare(final, reference) == scores.compare(final[order], reference[order])
    assert scores.bootstrap_interval(scores.speed_up, losses, baseline) == scores.bootstrap_interval(
        scores.speed_up, losses[order], baseline[order]
    )
