"""Counts of operations before compiling, and the fit that turns them into seconds."""

import dataclasses

import numpy as np
import pytest

from tasks import cost
from tasks.families.quadratic import Quadratic
from tasks.family import num_params
from tasks.mixture import TaskMixture
from tests.tasks.tiny_families import FAMILIES

FLOPS, CALLS = (cost.FEATURES.index(name) for name in ("flops", "calls"))


def test_larger_networks_cost_more():
    small, large = FAMILIES["teacher_regression"], FAMILIES["transformer"]
    assert cost.count(small)[FLOPS] < cost.count(large)[FLOPS]
    assert cost.predict_step_seconds(small) < cost.predict_step_seconds(large)


def test_operations_inside_a_scan_count_once_an_iteration():
    short = FAMILIES["rnn_gru"]
    long = dataclasses.replace(short, context=2 * short.context)
    assert cost.count(long)[CALLS] > 1.3 * cost.count(short)[CALLS]


def test_calibration_recovers_what_made_the_times():
    rng = np.random.default_rng(0)
    features = rng.lognormal(size=(40, 3)) * np.array([1.0, 1e6, 1e3])
    seconds = np.array([1e-5, 1e-10, 0.0])
    measured = features @ seconds
    fitted = cost.calibrate(features, measured)
    np.testing.assert_allclose(fitted[:2], seconds[:2], rtol=1e-6)
    assert cost.quality(features @ fitted, measured) == pytest.approx((1.0, 1.0))
    assert cost.quality(np.array([1.0, 2.0, 9.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx((1.0, 2 / 3))


def test_mixture_redraws_what_costs_too_much(monkeypatch):
    monkeypatch.setattr(cost, "predict_step_seconds", lambda family: 1e-6 * num_params(family))
    mixture = TaskMixture(((Quadratic, 1.0),), max_step_seconds=1e-4)
    families = [mixture.sample(np.random.default_rng(seed)) for seed in range(30)]
    sizes = {num_params(family) for family in families}
    assert max(sizes) <= 100
    assert len(sizes) == 3
    with pytest.raises(ValueError, match="none of 200 samples takes less than max_step_seconds=1e-09"):
        TaskMixture(((Quadratic, 1.0),), max_step_seconds=1e-9).sample(np.random.default_rng(0))
    with pytest.raises(ValueError, match="max_step_seconds must be positive, got 0"):
        TaskMixture(((Quadratic, 1.0),), max_step_seconds=0.0)


def test_measuring_gives_a_plausible_time():
    seconds = cost.measure_step_seconds(Quadratic(size=16, num_reflections=0), num_steps=2000)
    assert 1e-8 < seconds < 1e-2
