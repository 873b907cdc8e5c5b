"""The parts of the study of Crowded Valley: epochs, schedules, optimizers, budgets, scores and criteria."""

import dataclasses
import itertools
import math
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from evaluation import curve_key
from evaluation.baselines import averaging
from evaluation.report.heat_map import heat_map
from evaluation.settings import Contender
from evaluation.studies.crowded_valley import (
    CrowdedValley,
    criteria,
    optimizers,
    problems,
    published,
    scores,
    search,
)
from evaluation.studies.crowded_valley.epochs import EpochDraw, ShuffledEpochs
from evaluation.studies.crowded_valley.optimizers import OPTIMIZERS, SCHEDULES
from evaluation.studies.crowded_valley.quadratic import NoisyQuadratic
from evaluation.studies.crowded_valley.search import UNTUNED, Found
from tasks.families.crowded_valley_quadratic import CrowdedValleyQuadratic

P1 = problems.task("quadratic_deep", source="packaged", size="reduced", num_steps=1)


def _rows(family: ShuffledEpochs, draw: EpochDraw, num_steps: int) -> np.ndarray:
    steps = (family.draw_at(draw, jnp.asarray(step)) for step in range(num_steps))
    return np.stack([np.asarray(family.rows(draw)) for draw in steps])


def test_an_epoch_of_seven_batches_sees_896_examples_once_and_p1_repeats_it():
    assert P1.num_steps == 700
    draw = P1.family.draw(jax.random.key(0))
    rows = _rows(P1.family, draw, 14)
    assert rows.shape == (14, 128)
    assert len(np.unique(rows[:7])) == 7 * 128
    np.testing.assert_array_equal(rows[:7], rows[7:])
    assert (_rows(P1.family, P1.family.draw(jax.random.key(1)), 1) != rows[0]).any()
    shuffled = dataclasses.replace(P1.family, num_orders=2)
    rows = _rows(shuffled, shuffled.draw(jax.random.key(0)), 21)
    assert len(np.unique(rows[7:14])) == 7 * 128
    assert (rows[:7] != rows[7:14]).any()
    np.testing.assert_array_equal(rows[:7], rows[14:])


def test_p1_has_the_losses_of_the_log_and_of_the_task():
    params = NoisyQuadratic().init(jax.random.key(0))
    key = jax.random.key(1)
    for held_out, initial in (("valid", 353.8127659), ("test", 353.4467643)):
        family = dataclasses.replace(P1.family, held_out=held_out)
        loss = family.loss(family.draw(key), params, family.load()[1], key)
        assert float(loss) == pytest.approx(initial, rel=1e-6)
    points = NoisyQuadratic().load().train[0][:128]
    drawn = CrowdedValleyQuadratic()
    one, two = (
        jax.value_and_grad(loss)(params)
        for loss in (
            lambda params: NoisyQuadratic().loss(params, (points,), key),
            lambda params: drawn.loss((), params, points, key),
        )
    )
    np.testing.assert_allclose(one[0], two[0], rtol=1e-5)
    np.testing.assert_allclose(one[1]["theta"], two[1]["theta"], rtol=1e-4, atol=1e-3)


def test_examples_that_choose_and_those_reported_share_a_program_and_no_curve():
    other = problems.chosen_on(P1)
    assert other.family == P1.family
    assert hash(other.family) == hash(P1.family)
    sgd = Contender("sgd", OPTIMIZERS["sgd"])
    digests = []
    for tasks in ((P1, other), (other, P1)):
        curve_key._data_digest.cache_clear()
        digests.append({task.family.held_out: curve_key.data_digest(task.family) for task in tasks})
    assert digests[0] == digests[1]
    assert digests[0]["valid"] != digests[0]["test"]
    keys = [curve_key.common(task, sgd, num_checkpoints=1, num_valid_batches=1) for task in (P1, other)]
    assert keys[0] != keys[1]
    with pytest.raises(ValueError, match="held_out must be one of valid, test, got 'train'"):
        dataclasses.replace(P1.family, held_out="train")
    with pytest.raises(ValueError, match="batch_size must be at most 1000, the number of train examples, got 1001"):
        ShuffledEpochs(NoisyQuadratic(), 1001).load()


def _slow_factor(schedule: str, part: int) -> float:
    """A slow version of the log's description, for one of a hundred epochs."""
    if schedule == "none":
        return 1.0
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * part / 100))
    if schedule == "cosine_wr":
        length, begin = 10, 0
        while part >= begin + length:
            begin, length = begin + length, 2 * length
        return 0.5 * (1 + math.cos(math.pi * (part - begin) / length))
    if part == 0:
        return 1.0
    return part / 10 if part < 10 else 1.0 if part <= 90 else 1 - (part - 90) / 11


@pytest.mark.parametrize("index", range(4), ids=SCHEDULES)
def test_schedules_are_those_of_the_log(index):
    found = np.array([optimizers.factors(jnp.asarray(part))[index] for part in range(100)])
    np.testing.assert_allclose(found, [_slow_factor(SCHEDULES[index], part) for part in range(100)], atol=1e-5)
    # The schedule acts on the right step: one in the middle of epoch 95, in a run of 700 steps.
    tx = OPTIMIZERS["sgd"].bind({"learning_rate": 0.5, "schedule": float(index)}, 700)
    state = tx.init(jnp.zeros(()))
    update, _ = tx.update(jnp.ones(()), jax.tree.map(lambda leaf: leaf + 7 * 95 + 3, state))
    assert float(update) == pytest.approx(-0.5 * _slow_factor(SCHEDULES[index], 95), rel=1e-4)


def _descend(tx, num_steps: int) -> list[np.ndarray]:
    """Iterates on 0.5 x^T diag(1, 4) x from (1, -2)."""
    params, state, found = jnp.array([1.0, -2.0]), None, []
    state = tx.init(params)
    for _ in range(num_steps):
        updates, state = tx.update(params * jnp.array([1.0, 4.0]), state, params)
        params = optax.apply_updates(params, updates)
        found.append(np.asarray(params))
    return found


def test_lookahead_equals_the_catalogue_s_where_the_period_is_fixed():
    ours = _descend(optimizers.lookahead(optax.sgd(0.1, 0.9), jnp.asarray(5.0), 0.3), 12)
    theirs = _descend(averaging.lookahead(optax.sgd(0.1, 0.9), 5, 0.3), 12)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_amsgrad_takes_the_greatest_uncorrected_moment():
    tx = OPTIMIZERS["amsgrad"].bind({"learning_rate": 0.05}, 100)
    x, mean, square, greatest = np.array([1.0, -2.0]), np.zeros(2), np.zeros(2), np.zeros(2)
    for step, found in enumerate(_descend(tx, 8), 1):
        gradient = x * np.array([1.0, 4.0])
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        greatest = np.maximum(greatest, square)
        rate = 0.05 * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        x = x - rate * mean / (np.sqrt(greatest) + 1e-8)
        np.testing.assert_allclose(found, x, rtol=1e-4)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_descends_with_traced_hyperparameters(name):
    baseline = OPTIMIZERS[name]

    @jax.jit
    def run(setting):
        tx = baseline.bind(setting, 50)
        params = jnp.array([1.0, -2.0])
        state = tx.init(params)
        for _ in range(4):
            updates, state = tx.update(params * jnp.array([1.0, 4.0]), state, params)
            params = optax.apply_updates(params, updates)
        return jnp.sum(jnp.square(params) * jnp.array([0.5, 2.0]))

    defaults, drawn = search.settings(baseline, "cosine", 1)
    assert dict(defaults) == {**dict(baseline.defaults), "schedule": 1.0}
    for setting in (defaults, drawn):
        assert dict(setting)["schedule"] == 1.0
        loss = run(dict(setting))
        assert np.isfinite(loss)
        assert setting is not defaults or loss < 8.5


def test_draws_nest_and_are_shared():
    some, many = (search.settings(OPTIMIZERS["adam"], "none", number) for number in (3, 9))
    assert many[:4] == some
    assert len(set(many)) == 10
    contender = Contender("adam none", OPTIMIZERS["adam"], tuner=search.Given(some))
    other = pickle.loads(pickle.dumps(contender))  # as it travels to a worker
    assert (other.optimizer, other.tuner) == (contender.optimizer, contender.tuner)
    assert other.tuner.propose(other.optimizer, []) == list(some)
    assert other.tuner.propose(other.optimizer, [(some[0], 1.0)]) == []
    others = search.settings(OPTIMIZERS["nadam"], "ltr", 3)
    for one, other in zip(some[1:], others[1:], strict=True):
        assert {**dict(one), "schedule": 3.0} == dict(other)
    metrics = np.array([4.0, np.nan, 3.0, 5.0, 1.0, np.inf])
    np.testing.assert_array_equal(search.best_of_first(metrics, (1, 2, 3, 4, 6)), [0, 0, 2, 2, 4])
    periods = {optimizers.WholeNumber(1.0, 20.0).at(quantile) for quantile in np.linspace(0.0, 1.0, 400)}
    assert periods == {float(number) for number in range(1, 21)}
    with pytest.raises(ValueError, match=r"whole numbers low < high, got 1\.5 and 3"):
        optimizers.WholeNumber(1.5, 3.0)


def test_improvements_ranks_and_the_best_of_several():
    matrix = scores.improvements(np.array([2.0, 4.0, np.inf]), np.array([1.0, 4.0, np.inf]))
    np.testing.assert_array_equal(matrix, [[0.5, -1.0, -np.inf], [0.75, 0.0, -np.inf], [1.0, 1.0, 0.0]])
    np.testing.assert_array_equal(scores.ranks(np.array([[3.0, 1.0, 1.0]])), [[3.0, 1.5, 1.5]])
    assert scores.rank_correlation(np.array([1.0, 2.0, 9.0]), np.array([0.1, 0.2, 0.3])) == pytest.approx(1.0)
    assert scores.rank_correlation(np.array([1.0, 2.0, 9.0]), np.array([3.0, 2.0, 1.0])) == pytest.approx(-1.0)
    metrics = np.array([5.0, 1.0, 4.0, 2.0])
    for count in range(1, 5):
        slow = np.mean([min(one) for one in itertools.combinations(metrics, count)])
        assert scores.expected_best(metrics, count) == pytest.approx(slow)
    assert scores.expected_best(np.array([1.0, np.inf]), 2) == 1.0
    assert scores.expected_best(np.array([1.0, np.inf]), 1) == np.inf
    with pytest.raises(ValueError, match=r"num_tried must be in \[1, 4\], got 5"):
        scores.expected_best(metrics, 5)
    low, high = scores.median_interval(np.arange(101.0))
    assert 30 <= low < 50 < high <= 70


def _found(untuned, tuned, velo=1.0) -> Found:
    reported = {}
    for index, name in enumerate(OPTIMIZERS):
        reported[name, "none", UNTUNED] = np.full(2, untuned[index])
        reported[name, "none", 25] = np.full(2, tuned[index])
    choice = {(name, "none"): float(untuned[index]) for index, name in enumerate(OPTIMIZERS)}
    return Found(reported, choice, np.full(2, velo), 1.0)


def _verdicts(found) -> list[bool | None]:
    return [one.is_met for one in criteria.of_all(found, tuple(OPTIMIZERS), "none", 25)]


def test_criteria_follow_from_known_numbers():
    number, rng = len(OPTIMIZERS), np.random.default_rng(0)
    good = {f"p{index}": _found(rng.uniform(1.0, 2.0, number), rng.uniform(0.9, 0.94, number)) for index in range(4)}
    first = {name: _found(np.full(number, 2.0), np.arange(1.0, number + 1), velo=99.0) for name in good}
    assert _verdicts(good)[:2] == [True, True]
    assert _verdicts(good)[4] is True
    # One tuned optimizer, AMSBound, is first everywhere; most of the others are worse than untuned ones.
    assert _verdicts(first) == [False, True, True, False, False, False]
    # Each optimizer halves its own metric by tuning; the metrics are decades apart.
    decades = 10.0 ** np.arange(number)
    assert _verdicts({"p0": _found(decades, decades / 2)})[1] is False
    assert _verdicts({"p0": good["p0"]})[3:] == [None, None, None]
    assert [one.is_met for one in criteria.of_all(good, ("adam", "sgd"), "none", 25)] == [None] * 6


def test_p1_is_judged_beside_the_log():
    losses = np.array([published.FINAL_LOSSES.get(name, 90.0) for name in OPTIMIZERS])
    same = _found(losses, losses)
    assert [one.is_met for one in criteria.of_quadratic(same, (25,))] == [True, True]
    assert [one.is_met for one in criteria.of_quadratic(_found(1.02 * losses, losses), (25,))] == [False, True]
    assert [one.is_met for one in criteria.of_quadratic(_found(-losses, losses), (25,))] == [False, False]
    table = criteria.table_of_quadratic(same)
    assert len(table.rows) == 14
    assert all(row[4] == "+0.00%" for row in table.rows)


def test_a_heat_map_keeps_its_numbers():
    values = np.array([[10.2, -0.5], [np.inf, np.nan]])
    drawn = heat_map("h", "H", "x", "y", ("a", "b"), ("c", "d"), values, limit=20.0)
    assert drawn.csv.splitlines() == ["row,column,value", "c,a,10.2", "c,b,-0.5", "d,a,inf", "d,b,nan"]
    assert [text.get_text() for text in drawn.figure.axes[0].texts] == ["10", "-0.5", "∞", ""]
    zero = heat_map("z", "Z", "x", "y", ("a",), ("c",), np.array([[-0.01]]), limit=1.0)
    assert [text.get_text() for text in zero.figure.axes[0].texts] == ["0"]
    with pytest.raises(ValueError, match="limit must be positive, got 0"):
        heat_map("h", "H", "x", "y", ("a",), ("c",), np.zeros((1, 1)), limit=0.0)
    with pytest.raises(ValueError, match=r"values must have shape \(1, 2\), got \(1, 1\)"):
        heat_map("h", "H", "x", "y", ("a", "b"), ("c",), np.zeros((1, 1)), limit=1.0)


def test_sizes_and_mistakes():
    assert "svhn_wrn164" not in CrowdedValley().problems
    assert len(CrowdedValley().optimizers) == 15
    for wrong, message in (
        ({"problems": ("imagenet",)}, "problems must be some of quadratic_deep"),
        ({"optimizers": ()}, "optimizers must be some of amsbound"),
        ({"schedules": ("linear",)}, "schedules must be some of none, cosine, cosine_wr, ltr, got linear"),
        ({"size": "tiny"}, "size must be one of reduced, full, got 'tiny'"),
        ({"budgets": (50, 25)}, r"budgets must rise from 2 to at most 1000, got \(50, 25\)"),
        ({"num_seeds": 1}, "needs 2 seeds and 1 step at least, got 1"),
    ):
        with pytest.raises(ValueError, match=message):
            CrowdedValley(**wrong)
