"""ScheduleFree+ against a loop in float64, and its corner cases."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from evaluation import baselines
from evaluation.baselines.averaging import schedule_free_plus_average
from evaluation.baselines.schedule_free_plus import schedule_free_plus

NUM_STEPS = 25
NOISE = np.random.default_rng(0).normal(size=(NUM_STEPS, 6))
CURVATURE = np.array([4.0, 2.0, 1.0, 0.5, 0.2, 0.1])


def _loss_and_gradient(point, noise):
    target = 1.0 + 0.3 * noise
    return 0.5 * np.sum(CURVATURE * (point - target) ** 2) - 0.4, CURVATURE * (point - target)


def _slow(rate, *, b1, b2, first, final, anneal_steps, average_from, power, polyak_beta, decay, eps=1e-8):
    """(y after each step, x after the last)"""
    x = y = z = np.zeros(6)
    mean = square = np.zeros(6)
    norm, greatest, weight_sum, found = 0.0, eps, 0.0, []
    for k, noise in enumerate(NOISE):
        value, grad = _loss_and_gradient(y, noise)
        share = min(k / anneal_steps, 1.0) if anneal_steps else 0.0
        beta = 1 - np.exp(np.log(1 - first) * (1 - share) + np.log(1 - final) * share)
        norm = polyak_beta * norm + (1 - polyak_beta) * np.abs(grad).sum() * np.sqrt(np.pi / 2)
        polyak = max(0.0, value + beta * (grad @ (z - x))) / (norm / (1 - polyak_beta ** (k + 1)))
        now = rate(k) * polyak
        greatest = max(greatest, now)
        if k < average_from:
            c = 1.0
        else:
            weight = (k + 1) ** power * greatest**2
            weight_sum += weight
            c = weight / weight_sum
        z = z - now**2 * decay * y
        mean, square = b1 * mean + (1 - b1) * grad, b2 * square + (1 - b2) * grad**2
        z = z - now * (mean / (1 - b1 ** (k + 1))) / (np.sqrt(square / (1 - b2 ** (k + 1))) + eps)
        x = (1 - c) * x + c * z
        y = beta * x + (1 - beta) * z
        found.append(y)
    return np.array(found), x


def _run(tx):
    def loss(params, noise):
        return 0.5 * jnp.sum(jnp.asarray(CURVATURE) * jnp.square(params - 1.0 - 0.3 * noise)) - 0.4

    def step(carry, noise):
        params, state = carry
        value, grads = jax.value_and_grad(loss)(params, noise)
        updates, state = tx.update(grads, state, params, value=value)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    start = jnp.zeros(6)
    (params, state), found = jax.jit(lambda noise: jax.lax.scan(step, (start, tx.init(start)), noise))(
        jnp.asarray(NOISE, jnp.float32)
    )
    return found, schedule_free_plus_average(state, params)


def test_it_equals_a_slow_reference():
    found, average = _run(
        schedule_free_plus(
            lambda count: jnp.minimum((count + 1) / 4, 1.0), b1=0.8, b2=0.9,
            interpolation=0.85, final_interpolation=0.95,
            anneal_steps=15, average_from=5, average_power=1.5, polyak_beta=0.7, weight_decay=0.3,
        )
    )  # fmt: skip
    expected, wanted = _slow(
        lambda k: min((k + 1) / 4, 1.0), b1=0.8, b2=0.9, first=0.85, final=0.95,
        anneal_steps=15, average_from=5, power=1.5, polyak_beta=0.7, decay=0.3,
    )  # fmt: skip
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(average, wanted, rtol=1e-4, atol=1e-5)


def test_the_defaults_are_those_of_the_published_code():
    found, average = _run(schedule_free_plus())
    expected, wanted = _slow(
        lambda k: 1.0, b1=0.9, b2=0.95, first=0.9, final=0.965,
        anneal_steps=0, average_from=0, power=0.0, polyak_beta=0.0, decay=0.0,
    )  # fmt: skip
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(average, wanted, rtol=1e-4, atol=1e-5)


def test_the_baseline_warms_up_and_averages_from_twice_as_late():
    found, average = _run(baselines.get("schedule_free_plus").bind({"learning_rate": 0.5}, NUM_STEPS))
    expected, wanted = _slow(
        lambda k: 0.5 * min((k + 1) / 2, 1.0), b1=0.9, b2=0.95, first=0.9, final=0.965,
        anneal_steps=0, average_from=5, power=0.0, polyak_beta=0.0, decay=0.0,
    )  # fmt: skip
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(average, wanted, rtol=1e-4, atol=1e-5)


def test_a_zero_gradient_or_a_loss_below_zero_moves_nothing():
    tx = schedule_free_plus()
    params = {"matrix": jnp.ones((2, 3)), "scalar": jnp.ones(())}
    state = tx.init(params)
    zeros = jax.tree.map(jnp.zeros_like, params)
    for grads, value in ((zeros, 1.0), (params, -1.0), (zeros, 0.0)):
        updates, state = tx.update(grads, state, params, value=jnp.float32(value), obj_fn=None)
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(updates))
    updates, state = tx.update(params, state, params, value=jnp.float32(1.0))
    assert all(np.isfinite(leaf).all() and np.all(leaf < 0) for leaf in jax.tree.leaves(updates))


def test_it_asks_for_the_loss():
    tx = schedule_free_plus()
    with pytest.raises(ValueError, match="needs the loss"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)), jnp.ones(2))
