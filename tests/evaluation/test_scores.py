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
    settings = [FALLING[None], FAST[None]]
    assert scores.envelope_speed_up(FALLING[None], settings[:1]) == 1.0
    assert scores.envelope_speed_up(FALLING[None], settings) == pytest.approx(54 / 100)
    assert scores.envelope_speed_up(FAST[None], settings[:1]) == np.inf
    assert scores.envelope_speed_up(np.full((1, 100), np.nan), settings) == 0.0


@pytest.mark.parametrize("end", [np.nan, np.inf, 1e9])
@pytest.mark.parametrize("num_finite", [1, 2, 9])
def test_an_optimizer_that_diverges_at_once_reaches_nothing_though_all_start_at_the_same_loss(num_finite, end):
    losses = np.where(np.arange(100) < num_finite, FALLING, end)
    assert scores.envelope_speed_up(losses[None], [FALLING[None]]) == 0.0
    one_of_two = np.stack([FALLING, losses])
    assert scores.envelope_speed_up(one_of_two, [np.stack([FALLING, FALLING])]) == 0.0


def test_what_an_optimizer_reached_before_it_diverged_counts():
    losses = np.where(np.arange(100) < 50, FAST, np.nan)
    # Its lowest mean of ten is 11, after 50 steps; FALLING has a mean of ten of 11 after 95.
    assert scores.envelope_speed_up(losses[None], [FALLING[None]]) == pytest.approx(95 / 50)


def test_an_optimizer_that_stands_still_is_as_fast_as_any_at_where_it_starts():
    assert scores.envelope_speed_up(np.full((1, 100), 100.0), [FALLING[None]]) == 1.0


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


def test_a_longer_baseline_measures_speed_ups_above_one():
    # The window is that of the optimizer's run, 10: the optimizer's lowest mean of ten is 1, after step 60.
    longer = np.concatenate([FALLING / 2 + 50, np.arange(50.0, -250.0, -1.0)])
    fast = FAST[None]
    assert scores.envelope_speed_up(fast, [longer[None, :100]]) == np.inf
    # 50, 49, ... from step 101 on: the mean of ten is at most 1 first after the values 5.5, ..., -3.5 around step 154.
    steps = scores.steps_to(scores.lower_envelope(scores.smooth(longer, 10)), 1.0)
    assert scores.envelope_speed_up(fast, [longer[None]]) == pytest.approx(steps / 60)
    assert steps / 60 > 1
    assert scores.envelope_speed_up(fast, [longer[None, :100], longer[None]]) == pytest.approx(steps / 60)


def test_seconds_charge_for_overhead():
    assert scores.in_seconds(2.0, seconds_per_step=3.0, baseline_seconds_per_step=1.0) == pytest.approx(2 / 3)
    assert scores.in_seconds(np.inf, 3.0, 1.0) == np.inf


def test_equal_time_cuts_the_slower_one_short():
    slow, reference = scores.equal_time_losses(FALLING[None], FALLING[None], 2.0, 1.0)
    assert reference[0] == scores.final_loss(FALLING)
    assert slow[0] == np.mean(np.arange(51.0, 61.0))  # after 50 of its 100 steps
    fast, reference = scores.equal_time_losses(FALLING[None], FALLING[None], 0.5, 1.0)
    assert reference[0] == np.mean(np.arange(51.0, 61.0))
    assert fast[0] == scores.final_loss(FALLING)


@pytest.mark.parametrize(
    ("values", "mean"),
    [
        ([1.0, 2.0, 3.0, 4.0], 2.5),
        ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 100.0], 3.5),
        ([1.0, 2.0, 6.0], (0.25 * 1 + 1.0 * 2 + 0.25 * 6) / 1.5),  # a twelfth, a third, a twelfth of the runs
        ([1.0, 2.0, 3.0, np.inf], 2.5),
        ([1.0, 2.0, np.inf, np.inf], np.inf),
        ([1.0, np.nan], np.nan),
        ([7.0], 7.0),
    ],
)
def test_interquartile_mean(values, mean):
    np.testing.assert_allclose(scores.interquartile_mean(np.array([values])), mean)


def test_probability_of_improvement_holds_every_run_against_every_run():
    final = np.array([[1.0, 3.0], [5.0, np.inf]])
    baseline = np.array([[2.0, 2.0], [5.0, np.nan]])
    # Task one: 1 beats both, 3 neither. Task two: 5 = 5 half, 5 < inf, inf > 5, inf = inf half.
    assert scores.probability_of_improvement(final, baseline) == pytest.approx((0.5 + (0.5 + 1 + 0 + 0.5) / 4) / 2)
    assert scores.probability_of_improvement(baseline, baseline) == 0.5


def test_stratified_interval_redraws_seeds_within_tasks():
    # Each task's mean is 0, .5 or 1 with probabilities 1/4, 1/2, 1/4; the extremes of both together 1/16.
    sample = np.array([[0.0, 1.0], [10.0, 11.0]])

    def mean(values):
        return float(values.mean())

    assert scores.stratified_interval(mean, sample) == (5.0, 6.0)
    assert scores.stratified_interval(mean, sample, level=0.5) == (5.25, 5.75)
    assert np.isnan(scores.stratified_interval(mean, sample[:, :1]).low)
    ratio = scores.stratified_interval(lambda a, b: float((a / b).mean()), 2 * (sample + 1), sample + 1)
    assert ratio == (2.0, 2.0)  # pairs are drawn together


def test_nested_interval_redraws_tasks_and_the_seeds_within_them():
    def mean(values):
        return float(values.mean())

    # Two tasks whose seeds agree: the mean is 0, 5 or 10 with probabilities 1/4, 1/2, 1/4.
    sample = np.array([[0.0, 0.0], [10.0, 10.0]])
    assert scores.nested_interval(mean, sample) == (0.0, 10.0)
    assert scores.nested_interval(mean, sample, level=0.4) == (5.0, 5.0)
    assert scores.stratified_interval(mean, sample) == (5.0, 5.0)
    # Two tasks that agree: what is left are the seeds.
    seeds = np.array([[0.0, 1.0], [0.0, 1.0]])
    assert scores.nested_interval(mean, seeds) == (0.0, 1.0)
    assert np.isnan(scores.nested_interval(mean, sample[:1]).low)
    ratio = scores.nested_interval(lambda a, b: float((a / b).mean()), 2 * (sample + 1), sample + 1)
    assert ratio == (2.0, 2.0)  # pairs are drawn together


def test_geometric_mean_ratio_weighs_tasks_alike():
    final, baseline = np.array([[2.0, 8.0], [1.0, 1.0]]), np.array([[1.0, 1.0], [4.0, 4.0]])
    assert scores.geometric_mean_ratio(final, baseline) == pytest.approx(1.0)  # 2, 8, 1/4, 1/4
    assert scores.geometric_mean_ratio(np.array([[np.inf], [1.0]]), np.ones((2, 1))) == np.inf
    assert np.isnan(scores.geometric_mean_ratio(np.ones((2, 1)), np.array([[np.inf], [1.0]])))


def test_share_faster_counts_tasks_above_a_factor_if_the_longer_runs_can_tell():
    speed_ups = np.array([0.0, 1.0, 1.5, 4.0, np.inf])
    assert scores.share_faster(speed_ups, 1.0, 4.0) == 0.6
    assert scores.share_faster(speed_ups, 4.0, 4.0) == 0.2
    assert np.isnan(scores.share_faster(speed_ups, 4.0, 2.0))
    assert scores.share_faster(speed_ups[:-1], 4.0, 2.0) == 0.0


def test_times_to_target_are_medians_and_misses_are_infinite():
    baseline = np.stack([FALLING, FALLING, FALLING])
    losses = np.stack([FAST, FALLING, FALLING + 1.0])
    assert scores.times_to_target(losses, baseline) == 100  # of 54, 100 and never
    assert scores.times_to_target(losses, baseline, seconds_per_step=0.5) == 50
    assert scores.times_to_target(losses[[0, 2, 2]], baseline) == np.inf
    assert scores.times_to_target(losses[[0, 2]], baseline[:2]) == np.inf
    assert scores.times_to_target(losses, np.full((3, 100), np.nan)) == np.inf


def test_performance_profiles_count_tasks_within_a_factor_of_the_fastest():
    times = np.array([[1.0, 2.0, np.inf], [3.0, 1.0, np.inf], [np.inf, np.inf, np.inf], [2.0, 10.0, 2.0]])
    profile = scores.performance_profile(times, np.array([1.0, 2.0, 3.0, 4.0]))
    np.testing.assert_array_equal(profile, [[0.5, 0.5, 0.75, 0.75], [0.25, 0.5, 0.5, 0.5], [0.25, 0.25, 0.25, 0.25]])
    # Areas: (3 + 1 + 0 + 3) / 3 / 4, (2 + 3 + 0 + 0) / 3 / 4, (0 + 0 + 0 + 3) / 3 / 4.
    np.testing.assert_allclose(scores.profile_score(times), [7 / 12, 5 / 12, 3 / 12])


def test_best_of_is_the_median_of_the_best_of_n():
    # Of four trials: one is at most the 2nd with probability 1/2; of two the best is at most the 1st with
    # probability 1/2; three or four contain the 1st with probability 3/4 and 1.
    np.testing.assert_array_equal(scores.best_of(np.array([4.0, 1.0, np.inf, 2.0])), [2.0, 1.0, 1.0, 1.0])
    # Of three: 1/3, 2/3, 1 for the 1st; one is at most the 2nd with probability 2/3.
    np.testing.assert_array_equal(scores.best_of(np.array([np.nan, np.inf, 3.0])), [np.inf, 3.0, 3.0])


@pytest.mark.parametrize(
    ("loss", "worth"), [(0.5, np.inf), (1.0, 2.0), (1.9, 2.0), (2.0, 1.0), (9.0, 1.0), (np.inf, 0.0), (np.nan, 0.0)]
)
def test_worth_trials(loss, worth):
    assert scores.worth_trials(loss, np.array([4.0, 1.0, np.inf, 2.0])) == worth


def test_paired_test_has_the_exact_p_values_of_signed_ranks():
    baseline = np.ones(5)
    better = np.array([0.5, 0.6, 0.7, 0.8, np.nextafter(1, 0)])
    assert scores.paired_p_value(better, baseline) == pytest.approx(2 / 2**5)  # all signs alike: two of 32
    assert scores.paired_p_value(baseline, better) == pytest.approx(2 / 2**5)
    assert scores.paired_p_value(baseline, baseline) == 1.0
    # A diverged run is the largest difference: + 1 2 3 4 against - 5 has 14 of 32 sign patterns as extreme.
    broken = np.array([0.5, 0.6, 0.7, 0.8, np.nan])
    assert scores.paired_p_value(broken, baseline) == scores.paired_p_value(
        np.array([0.5, 0.6, 0.7, 0.8, 50.0]), baseline
    )


def test_holm_multiplies_the_least_by_the_number_of_tests():
    assert scores.holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert scores.holm([0.6, 0.9]) == [1.0, 1.0]
    assert scores.holm([]) == []


def test_no_score_depends_on_the_order_of_seeds_or_tasks():
    rng = np.random.default_rng(1)
    final, baseline = rng.uniform(0.5, 2.0, (2, 6, 5))
    tasks, seeds = rng.permutation(6), rng.permutation(5)
    moved = final[tasks][:, seeds], baseline[tasks][:, seeds]
    assert scores.interquartile_mean(final) == pytest.approx(scores.interquartile_mean(moved[0]))
    assert scores.probability_of_improvement(final, baseline) == pytest.approx(
        scores.probability_of_improvement(*moved)
    )
    means = final.mean(axis=1), baseline.mean(axis=1)
    assert scores.paired_p_value(*means) == scores.paired_p_value(means[0][tasks], means[1][tasks])
    assert scores.stratified_interval(scores.probability_of_improvement, final, baseline) == scores.stratified_interval(
        scores.probability_of_improvement, *moved
    )
    assert scores.nested_interval(scores.probability_of_improvement, final, baseline) == scores.nested_interval(
        scores.probability_of_improvement, *moved
    )
    np.testing.assert_allclose(scores.profile_score(final), scores.profile_score(final[tasks]))
    assert scores.worth_trials(0.8, final[:, 0]) == scores.worth_trials(0.8, final[tasks, 0])
    curves, reference = FAST * final[0][:, None], FALLING * baseline[0][:, None]
    assert scores.envelope_speed_up(curves, [reference]) == scores.envelope_speed_up(curves[seeds], [reference[seeds]])
    assert scores.times_to_target(curves, reference) == scores.times_to_target(curves[seeds], reference[seeds])
