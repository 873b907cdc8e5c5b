"""Estimators against the exact gradient of an analytic problem."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_train.estimators import ESTIMATORS, NRES, PES, FullBackprop, FullES, TruncatedBackprop, TruncatedES
from meta_train.settings import MetaTraining
from tests.meta_train import analytic

NUM_PAIRS = 40_000
SIGMA = 0.01


@functools.partial(jax.jit, static_argnums=(0, 1))
def episode_gradient(estimator, problem, key):
    """The estimates over one episode, added up."""
    theta = analytic.theta()

    def step(loop, segment):
        state, total = loop
        estimate, state = estimator.estimate(problem, theta, state, (), jax.random.fold_in(key, segment))
        return (state, total + estimate.grad["rate"]), estimate.loss

    start = (estimator.init(problem, theta, (), key), jnp.zeros(()))
    (_, total), _ = jax.lax.scan(step, start, jnp.arange(problem.num_segments))
    return total


def mean_gradient(estimator, problem, key):
    gradients = [episode_gradient(estimator, problem, jax.random.fold_in(key, i)) for i in range(8)]
    return np.mean(gradients), np.std(gradients) / np.sqrt(len(gradients))


@functools.partial(jax.jit, static_argnums=(0, 1))
def estimate(estimator, problem, state, key):
    return estimator.estimate(problem, analytic.theta(), state, (), key)


def test_the_analytic_gradient_is_the_design_documents():
    assert pytest.approx(-5.292, abs=1e-3) == analytic.EXACT
    assert jax.grad(lambda x: sum((1.0 - x) ** (2 * t) for t in range(1, 9)))(0.3) == pytest.approx(analytic.EXACT)


@pytest.mark.parametrize("num_segments", [1, 2, 8])
@pytest.mark.parametrize("method", [PES, NRES])
def test_unbiased_however_the_episode_is_cut(method, num_segments):
    gradient, error = mean_gradient(method(NUM_PAIRS, SIGMA), analytic.Decay(num_segments), jax.random.key(1))
    assert abs(gradient - analytic.EXACT) < 5 * error + 0.02
    assert error < 0.05


def test_full_es_is_unbiased():
    for num_segments in (1, 4):
        found, _ = estimate(FullES(NUM_PAIRS, SIGMA), analytic.Decay(num_segments), (), jax.random.key(2))
        assert float(found.grad["rate"]) == pytest.approx(analytic.EXACT, abs=0.15)
        assert int(found.num_inner_steps) == 2 * NUM_PAIRS * analytic.NUM_STEPS


def test_the_sign_of_the_difference_has_the_sign_of_the_gradient_and_no_size():
    sign = FullES(1000, SIGMA, sign=True)
    found, _ = estimate(sign, analytic.Decay(2), (), jax.random.key(2))
    # The loss falls with the rate: sign(difference) = -sign(noise), and the mean of |noise| is sqrt(2 / pi).
    expected = -np.sqrt(2 / np.pi) / (2 * SIGMA)
    assert float(found.grad["rate"]) == pytest.approx(expected, rel=0.1)
    losses = jnp.array([[1.0, 5.0, jnp.nan, jnp.inf], [2.0, 4.0, 0.0, jnp.inf]])
    np.testing.assert_array_equal(FullES(4, 0.5, sign=True).coefficients(losses) * 4, [-1.0, 1.0, 0.0, 0.0])
    with pytest.raises(ValueError, match="sign and standardize exclude each other"):
        FullES(sign=True, standardize=True)


@pytest.mark.parametrize("num_segments", [2, 8])
def test_truncated_es_has_exactly_the_truncation_bias(num_segments):
    gradient, error = mean_gradient(TruncatedES(NUM_PAIRS, SIGMA), analytic.Decay(num_segments), jax.random.key(3))
    assert abs(gradient - analytic.truncated(num_segments)) < 5 * error + 0.02
    assert abs(gradient - analytic.EXACT) > 0.1


def test_truncation_to_single_steps_drifts_to_half_the_gradient():
    assert pytest.approx(-2.736, abs=1e-3) == analytic.truncated(8)


@pytest.mark.parametrize("num_segments", [1, 4])
def test_backpropagation_is_exact_and_its_truncation_has_exactly_the_bias(num_segments):
    problem, key = analytic.Decay(num_segments), jax.random.key(4)
    full, _ = estimate(FullBackprop(3), problem, (), key)
    assert float(full.grad["rate"]) == pytest.approx(analytic.EXACT, rel=1e-5)
    assert int(full.num_inner_steps) == 3 * analytic.NUM_STEPS
    truncated = episode_gradient(TruncatedBackprop(3), problem, key)
    assert float(truncated) == pytest.approx(analytic.truncated(num_segments), rel=1e-5)


def test_pes_of_one_segment_is_es_to_the_bit():
    problem, key = analytic.Decay(1), jax.random.key(4)
    pes = PES(16, 0.1)
    state = pes.init(problem, analytic.theta(), (), key)
    for step in range(2):
        key_step = jax.random.fold_in(key, step)
        found, state = estimate(pes, problem, state, key_step)
        expected, _ = estimate(FullES(16, 0.1), problem, (), key_step)
        np.testing.assert_array_equal(found.grad["rate"], expected.grad["rate"])
        # The gradient is the same to the bit; the reported mean may be fused in another order.
        np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-6)


def test_noise_reuse_holds_its_noise_for_an_episode_and_pes_adds_its_own_up():
    problem = analytic.Decay(4)
    for method in (NRES, PES):
        estimator = method(3, 0.1)
        state = estimator.init(problem, analytic.theta(), (), jax.random.key(0))
        pasts = []
        for step in range(5):
            _, state = estimate(estimator, problem, state, jax.random.key(step))
            pasts.append(np.asarray(state.past))
        same = [np.array_equal(pasts[0], past) for past in pasts]
        assert same == [True, method is NRES, method is NRES, method is NRES, False]
        assert bool(state.fresh[0]) is False


def test_random_offsets_spread_the_lanes_over_their_episodes():
    problem = analytic.Decay(8)
    for estimator in (PES(2000, 0.1, random_offsets=True), TruncatedBackprop(2000, random_offsets=True)):
        init = jax.jit(estimator.init, static_argnums=0)
        state = init(problem, analytic.theta(), (), jax.random.key(1))
        steps = np.asarray(state.carry.step)
        counts = np.bincount(steps[0], minlength=8)
        assert counts.sum() == 2000 and counts.min() > 180 and len(counts) == 8
        assert (steps == steps[0]).all()
        np.testing.assert_array_equal(state.fresh, steps[0] == 0)
        np.testing.assert_allclose(state.carry.x, (1 - analytic.THETA) ** steps, rtol=1e-5)
        _, later = estimate(estimator, problem, state, jax.random.key(2))
        assert later.fresh.mean() == pytest.approx(1 / 8, abs=0.03)


@pytest.mark.parametrize("method", [method for method in ESTIMATORS if method.seeded])
def test_the_gradient_follows_from_key_and_coefficients(method):
    estimator, problem, key = method(5, 0.1), analytic.Decay(2), jax.random.key(8)
    found, _ = estimate(estimator, problem, estimator.init(problem, analytic.theta(), (), key), key)
    rebuilt = estimator.rebuild({"rate": jnp.zeros(())}, key, found.coefficients)
    np.testing.assert_allclose(rebuilt["rate"], found.grad["rate"], rtol=1e-6)


def test_the_gradient_of_one_pair_is_the_central_difference():
    key = jax.random.key(5)
    found, _ = estimate(FullES(1, 0.05), analytic.Decay(2), (), key)
    noise = jax.random.normal(jax.random.split(key, 3)[0], (1, 1))[0, 0]

    def loss(x):
        return sum((1.0 - x) ** (2 * t) for t in range(1, 9))

    step = 0.05 * noise
    expected = (loss(0.3 + step) - loss(0.3 - step)) / (2 * 0.05) * noise
    assert float(found.grad["rate"]) == pytest.approx(float(expected), rel=1e-4)


def test_standardised_gradients_do_not_depend_on_the_scale_of_the_loss():
    estimator = FullES(8, 0.1, standardize=True)
    losses = jax.random.normal(jax.random.key(6), (2, 8))
    np.testing.assert_allclose(estimator.coefficients(losses), estimator.coefficients(1000.0 * losses), rtol=1e-5)
    assert jnp.all(estimator.coefficients(jnp.ones((2, 8))) == 0)


THETA = {"bank": [{"b": jnp.ones(2), "w": jnp.ones((3, 2))}], "banknote": jnp.ones(1), "lstm": {"w": jnp.ones(4)}}


def test_only_the_parts_asked_for_are_perturbed():
    """A part matches whole names only: `bank` doesn't match `banknote`."""
    sizes = {"all": 13, "bank": 8, "lstm": 4, "bank/0/w": 6}
    noises = {part: FullES(2, parts=() if part == "all" else (part,)).noise(THETA, jax.random.key(0)) for part in sizes}
    for part, size in sizes.items():
        assert np.count_nonzero(noises[part]) == 2 * size
        np.testing.assert_array_equal(noises[part], np.where(noises[part] != 0, noises["all"], 0))
    both = FullES(2, parts=("bank", "lstm")).noise(THETA, jax.random.key(0))
    np.testing.assert_array_equal(both, noises["bank"] + noises["lstm"])
    rebuilt = FullES(2, parts=("bank",)).rebuild(THETA, jax.random.key(0), jnp.ones(2))
    assert [bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(rebuilt)] == [True, True, False, False]


def test_a_part_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="no part of theta is 'lstn'; known: bank/0/b, bank/0/w, banknote, lstm/w"):
        FullES(2, parts=("lstn",)).noise(THETA, jax.random.key(0))
    with pytest.raises(ValueError, match="FullES: no part of theta is 'banks'; known: bank/0/b"):
        MetaTraining(estimator=FullES(2, parts=("banks",)))


@pytest.mark.parametrize("method", ESTIMATORS)
def test_laws_of_every_estimator(method):
    """The same bits for the same key, other ones for another; the state keeps its structure and shapes."""
    problem = analytic.Decay(4)
    estimator = dataclasses.replace(method())
    assert hash(estimator) == hash(method())
    state = estimator.init(problem, analytic.theta(), (), jax.random.key(0))
    assert (state == ()) is not method.persistent
    first, later = estimate(estimator, problem, state, jax.random.key(1))
    again, _ = estimate(estimator, problem, state, jax.random.key(1))
    np.testing.assert_array_equal(first.grad["rate"], again.grad["rate"])
    if "Backprop" not in method.__name__:
        other, _ = estimate(estimator, problem, state, jax.random.key(2))
        assert first.grad["rate"] != other.grad["rate"]
    shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state)
    assert shapes == jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), later)
    assert jax.tree.structure(first.grad) == jax.tree.structure(analytic.theta())


@pytest.mark.parametrize(
    ("method", "field", "value"),
    [
        (PES, "num_pairs", 0),
        (PES, "sigma", 0.0),
        (PES, "sigma", float("nan")),
        (FullBackprop, "num_lanes", 0),
        (TruncatedBackprop, "num_lanes", 0),
    ],
)
def test_bad_sizes_are_named(method, field, value):
    with pytest.raises(ValueError, match=f"{field} must be .* got {value}"):
        method(**{field: value})
