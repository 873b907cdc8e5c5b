"""The parts of the study of Surge: exact rates, laws and their fits, rates measured on a network."""

import dataclasses

import numpy as np
import pytest

from evaluation import rate_laws, rate_probe, sign_descent
from evaluation.studies.surge import Surge
from evaluation.studies.surge_findings import fit_peak
from tasks.families.mlp_classifier import MLPClassifier
from tasks.wrappers.undisturbed import Undisturbed

SIZES = 2.0 ** np.arange(11)
NETWORK = Undisturbed(MLPClassifier(dataset="breast_cancer", widths=(4,), batch_size=8))
JUDGE = Undisturbed(dataclasses.replace(NETWORK.family, batch_size=64))


def test_the_exact_rate_equals_a_slow_reference_and_the_best_of_real_steps():
    problem = sign_descent.coupled_quadratic(size=5, signal=0.5)
    batch_size, rng = 3, np.random.default_rng(1)
    # Slow reference: expected signs and products of signs as sample means, entry by entry.
    gradients = problem.gradient + problem.noise / np.sqrt(batch_size) * rng.normal(size=(200_000, 5))
    signs = np.sign(gradients)
    top = sum(problem.gradient[i] * signs[:, i].mean() for i in range(5))
    bottom = sum(problem.hessian[i, j] * (signs[:, i] * signs[:, j]).mean() for i in range(5) for j in range(5))
    exact = sign_descent.best_rate(problem, sign_descent.exact_signs(problem, batch_size))
    assert exact == pytest.approx(top / bottom, rel=0.02)
    simulated = sign_descent.simulated_rates(problem_seed=0, batch_sizes=(4, 256), num_samples=40_000)["rates"]
    whole = sign_descent.coupled_quadratic(seed=0)
    for rate, size in zip(simulated, (4, 256), strict=True):
        signs = sign_descent.exact_signs(whole, size)
        assert rate == pytest.approx(sign_descent.best_rate(whole, signs), rel=0.05)


def test_the_small_batch_law_is_the_limit_of_the_exact_rate():
    problem = sign_descent.coupled_quadratic(signal=1e-4)
    peak, noise_batch = sign_descent.small_batch_law(problem)
    for factor in (0.1, 1.0, 10.0):
        size = factor * noise_batch  # still far below pi sigma^2 / (2 G^2), some 10^8
        exact = sign_descent.best_rate(problem, sign_descent.exact_signs(problem, size))
        assert exact == pytest.approx(peak * rate_laws.surge(np.array([size]), noise_batch)[0], rel=0.25)
    flat = dataclasses.replace(problem, hessian=np.diag(np.diag(problem.hessian)))
    with pytest.raises(ValueError, match="coordinates must pull together, got a coupling of 0"):
        sign_descent.small_batch_law(flat)


def test_approximate_signs_are_near_the_exact_ones():
    problem = sign_descent.coupled_quadratic(signal=1.0)
    for size in (0.1, 1.0, 10.0):
        exact, near = (signs(problem, size) for signs in (sign_descent.exact_signs, sign_descent.approximate_signs))
        np.testing.assert_allclose(near, exact, rtol=0.15)
        assert (np.abs(near) < np.abs(exact) + 1e-9).all()


def test_the_fit_finds_the_law_of_steps_and_examples_again():
    min_steps, noise_batch = 50.0, 32.0
    steps = min_steps * (1 + noise_batch / SIZES)
    np.testing.assert_allclose((steps / min_steps - 1) * (SIZES * steps / (min_steps * noise_batch) - 1), 1.0)
    found = rate_laws.fit_steps(SIZES, np.where(SIZES == 4, np.inf, steps))
    assert found == pytest.approx((noise_batch, min_steps, 1.0))
    with pytest.raises(ValueError, match="needs 3 batch sizes that reach the loss, got 2"):
        rate_laws.fit_steps(SIZES[:2], steps[:2])


def test_laws_have_their_shapes_and_the_right_one_fits_best():
    assert rate_laws.surge(np.array([32.0, 8.0, 128.0]), 32.0) == pytest.approx([1.0, 0.8, 0.8])
    assert rate_laws.saturation(np.array([32.0]), 32.0) == pytest.approx([0.5])
    rates = 0.01 * rate_laws.surge(SIZES, 90.0)
    assert rate_laws.log_error(rates, rate_laws.surge(SIZES, 90.0)) == pytest.approx(0.0, abs=1e-9)
    assert rate_laws.scale(rates, rate_laws.surge(SIZES, 90.0)) == pytest.approx(0.01)
    for exponent in (0.5, 1.0):
        assert rate_laws.log_error(rates, rate_laws.power(SIZES, exponent)) > 0.3
    assert fit_peak(SIZES, rates) == pytest.approx(90.0, rel=0.03)


def test_the_best_rate_is_refined_between_those_tried():
    rates = np.geomspace(1e-3, 1e-1, 9)
    gains = -np.square(np.log(rates / 0.013))
    assert rate_laws.refined_argmax(rates, gains) == pytest.approx(0.013, rel=1e-6)
    assert rate_laws.refined_argmax(rates, np.arange(9.0)) == rates[-1]
    gains[5:] = np.nan
    assert rate_laws.refined_argmax(rates, gains) == rates[4]


def test_crossings_lie_between_the_checks():
    losses = np.array([2.0, 1.5, 1.0, 1.2])
    assert rate_probe.crossing(losses, 1.25, 4) == pytest.approx(6.0)
    assert rate_probe.crossing(losses, 2.0, 4) == 0.0
    assert rate_probe.crossing(losses, 0.5, 4) == np.inf


def test_steps_and_falls_agree_with_plain_loops(monkeypatch):
    """A rate takes as many steps to the target in a grid as alone, and falls are those of the probe steps."""
    shared = {
        "family": NETWORK, "judge": JUDGE, "optimizer": "sgd", "setting": (), "targets": (0.5, 0.4), "num_seeds": 2,
    }  # fmt: skip
    both = rate_probe.steps_to_targets(**shared, rates=(1e-4, 0.3), max_steps=60, check_every=2)["steps"]
    alone = rate_probe.steps_to_targets(**shared, rates=(0.3,), max_steps=60, check_every=2)["steps"]
    assert both.shape == (2, 2, 2)
    assert np.isinf(both[1, 0]).all()  # the small rate never gets there
    np.testing.assert_allclose(both[:, 1], alone[:, 0], rtol=1e-4)
    assert (both[1, 1] > both[0, 1]).all()
    probing = {"origin": NETWORK, "origin_rate": 0.01, "settle_steps": 3, "num_rounds": 2}
    falls = rate_probe.falls(**shared, **probing, rates=(0.0, 0.1, 1.0), probe_steps=4)["falls"]
    assert falls.shape == (2, 3, 2)
    np.testing.assert_allclose(falls[:, 0], 0.0, atol=1e-7)  # nothing moves at a rate of zero
    assert (falls[0, 1] > 0).all()
    # With adam, whose averages settled, one step of a small rate moves every weight by about the rate.
    shared |= {"optimizer": "adam"}
    one = rate_probe.falls(**shared, **probing, rates=(1e-5, 2e-5), probe_steps=1)["falls"]
    np.testing.assert_allclose(one[:, 1], 2 * one[:, 0], rtol=0.2, atol=2e-6)
    monkeypatch.setattr(rate_probe, "MAX_ORIGIN_STEPS", 4)
    rate_probe._origins.cache_clear()
    with pytest.raises(ValueError, match="must be reached within 4 steps"):
        rate_probe.falls(**shared | {"targets": (1e-6,)}, **probing, rates=(1e-5,), probe_steps=1)


def test_mistakes_in_the_sizes_are_named():
    with pytest.raises(ValueError, match="network must be one of mlp, conv, got 'resnet'"):
        Surge(network="resnet")
    with pytest.raises(ValueError, match="targets must fall"):
        Surge(targets=(0.1, 0.2))
    with pytest.raises(ValueError, match=r"batch_sizes must have 3 entries at least, got \(1,\)"):
        Surge(batch_sizes=(1,))
