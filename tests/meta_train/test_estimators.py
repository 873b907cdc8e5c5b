"""Estimators against the exact gradient of an analytic problem."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_train.estimators import PES, FullES, TruncatedES
from tests.meta_train import analytic

NUM_PAIRS = 40_000
SIGMA = 0.01


@functools.partial(jax.jit, static_argnums=(0, 1))
def episode_gradient(estimator, problem, key):
    """The estimates over one episode, added up."""
    theta = analytic.theta()
    state = estimator.init(problem, theta, key)
    total = 0.0
    for segment in range(problem.num_segments):
        estimate, state = estimator.estimate(problem, theta, state, (), jax.random.fold_in(key, segment))
        total = total + estimate.grad["rate"]
    return total


def mean_gradient(estimator, problem, key):
    gradients = [episode_gradient(estimator, problem, jax.random.fold_in(key, i)) for i in range(8)]
    return np.mean(gradients), np.std(gradients) / np.sqrt(len(gradients))


def test_the_analytic_gradient_is_the_design_documents():
    assert pytest.approx(-5.292, abs=1e-3) == analytic.EXACT
    assert jax.grad(lambda x: sum((1.0 - x) ** (2 * t) for t in range(1, 9)))(0.3) == pytest.approx(analytic.EXACT)


@pytest.mark.parametrize("num_segments", [1, 2, 4, 8])
def test_pes_is_unbiased_however_the_episode_is_cut(num_segments):
    gradient, error = mean_gradient(PES(NUM_PAIRS, SIGMA), analytic.Decay(num_segments), jax.random.key(1))
    assert abs(gradient - analytic.EXACT) < 5 * error + 0.02
    assert error < 0.05


def test_full_es_is_unbiased():
    for num_segments in (1, 4):
        problem = analytic.Decay(num_segments)
        estimator = FullES(NUM_PAIRS, SIGMA)
        estimate, _ = jax.jit(estimator.estimate, static_argnums=0)(
            problem, analytic.theta(), (), (), jax.random.key(2)
        )
        assert float(estimate.grad["rate"]) == pytest.approx(analytic.EXACT, abs=0.15)
        assert int(estimate.num_inner_steps) == 2 * NUM_PAIRS * analytic.NUM_STEPS


@pytest.mark.parametrize("num_segments", [2, 4, 8])
def test_truncated_es_has_exactly_the_truncation_bias(num_segments):
    gradient, error = mean_gradient(TruncatedES(NUM_PAIRS, SIGMA), analytic.Decay(num_segments), jax.random.key(3))
    assert abs(gradient - analytic.truncated(num_segments)) < 5 * error + 0.02
    assert abs(gradient - analytic.EXACT) > 0.1


def test_truncation_to_single_steps_drifts_to_half_the_gradient():
    assert pytest.approx(-2.736, abs=1e-3) == analytic.truncated(8)


def test_pes_of_one_segment_is_es_to_the_bit():
    problem, theta, key = analytic.Decay(1), analytic.theta(), jax.random.key(4)
    pes, full = PES(16, 0.1), FullES(16, 0.1)
    state = pes.init(problem, theta, key)
    for step in range(2):
        key_step = jax.random.fold_in(key, step)
        estimate, state = jax.jit(pes.estimate, static_argnums=0)(problem, theta, state, (), key_step)
        expected, _ = jax.jit(full.estimate, static_argnums=0)(problem, theta, (), (), key_step)
        np.testing.assert_array_equal(estimate.grad["rate"], expected.grad["rate"])
        # The gradient is the same to the bit; the reported mean may be fused in another order.
        np.testing.assert_allclose(estimate.loss, expected.loss, rtol=1e-6)


def test_the_gradient_of_one_pair_is_the_central_difference():
    estimator, problem = FullES(1, 0.05), analytic.Decay(2)
    key = jax.random.key(5)
    estimate, _ = estimator.estimate(problem, analytic.theta(), (), (), key)
    noise = jax.random.normal(jax.random.split(key, 3)[0], (1, 1))[0, 0]

    def loss(x):
        return sum((1.0 - x) ** (2 * t) for t in range(1, 9))

    step = 0.05 * noise
    expected = (loss(0.3 + step) - loss(0.3 - step)) / (2 * 0.05) * noise
    assert float(estimate.grad["rate"]) == pytest.approx(float(expected), rel=1e-4)


def test_standardised_gradients_do_not_depend_on_the_scale_of_the_loss():
    estimator = FullES(8, 0.1, standardize=True)
    losses = jax.random.normal(jax.random.key(6), (2, 8))
    noise = jax.random.normal(jax.random.key(7), (8, 3))
    np.testing.assert_allclose(estimator.gradient(losses, noise), estimator.gradient(1000.0 * losses, noise), rtol=1e-5)
    assert jnp.all(estimator.gradient(jnp.ones((2, 8)), noise) == 0)


@pytest.mark.parametrize(("field", "value"), [("num_pairs", 0), ("sigma", 0.0), ("sigma", float("nan"))])
def test_bad_sizes_are_named(field, value):
    with pytest.raises(ValueError, match=f"{field} must be .* got {value}"):
        PES(**{field: value})
