"""The outer update: order, averages, and contributions that can't be used."""

import math

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from meta_train import learner
from meta_train.learner import Contribution

THETA = {"a": jnp.array([1.0, -2.0]), "b": jnp.array(0.5)}


def contribution(worker, scale, loss=1.0):
    grad = {"a": np.array([scale, 2 * scale], np.float32), "b": np.float32(-scale)}
    return Contribution(worker, 0, 0, grad, loss, num_nonfinite=worker, num_inner_steps=10, seconds=0.1)


def test_plain_descent_follows_the_mean_gradient():
    tx = optax.sgd(0.5)
    state, metrics = learner.update(tx, learner.init(tx, THETA), [contribution(0, 1.0), contribution(1, 3.0)], 0.9)
    np.testing.assert_allclose(state.theta["a"], [1.0 - 0.5 * 2.0, -2.0 - 0.5 * 4.0])
    np.testing.assert_allclose(state.theta["b"], 0.5 + 0.5 * 2.0)
    assert metrics.num_nonfinite == 1
    assert metrics.num_inner_steps == 20
    assert metrics.grad_norm == pytest.approx(math.sqrt(4 + 16 + 4))
    assert state.step == 1


def test_the_order_of_arrival_changes_nothing():
    tx = optax.adam(0.1)
    contributions = [contribution(worker, 10.0 ** (worker - 3)) for worker in range(7)]
    expected, _ = learner.update(tx, learner.init(tx, THETA), contributions, 0.9)
    for order in ([6, 5, 4, 3, 2, 1, 0], [3, 0, 6, 1, 5, 2, 4]):
        state, _ = learner.update(tx, learner.init(tx, THETA), [contributions[i] for i in order], 0.9)
        np.testing.assert_array_equal(state.theta["a"], expected.theta["a"])


@pytest.mark.parametrize(
    "broken", [contribution(1, math.nan), contribution(1, math.inf), contribution(1, 1.0, math.nan)]
)
def test_a_non_finite_contribution_never_reaches_theta(broken):
    tx = optax.sgd(1.0)
    state, metrics = learner.update(tx, learner.init(tx, THETA), [contribution(0, 1.0), broken], 0.9)
    alone, _ = learner.update(tx, learner.init(tx, THETA), [contribution(0, 1.0)], 0.9)
    np.testing.assert_array_equal(state.theta["a"], alone.theta["a"])
    assert metrics.num_rejected == 1
    assert math.isfinite(metrics.loss)


def test_without_a_usable_contribution_theta_stays():
    tx = optax.sgd(1.0)
    state, metrics = learner.update(tx, learner.init(tx, THETA), [contribution(0, math.nan)], 0.9)
    np.testing.assert_array_equal(state.theta["a"], THETA["a"])
    assert (state.step, metrics.num_rejected) == (1, 1)
    assert math.isnan(metrics.loss)


def test_the_average_forgets_the_untrained_theta():
    tx = optax.sgd(0.0)
    state = learner.init(tx, THETA)._replace(theta={"a": jnp.array([5.0, 5.0]), "b": jnp.array(5.0)})
    state, _ = learner.update(tx, state, [contribution(0, 1.0)], 0.99)
    np.testing.assert_allclose(state.average["a"], [5.0, 5.0])
    later, _ = learner.update(tx, state._replace(step=10_000, theta=THETA), [contribution(0, 1.0)], 0.99)
    np.testing.assert_allclose(later.average["b"], 0.99 * 5.0 + 0.01 * 0.5, rtol=1e-6)
