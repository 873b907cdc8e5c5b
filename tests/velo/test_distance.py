"""The estimate of the distance to the solution: Prodigy's ratio, its limit, and when it is held."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import velo
from velo.architectures.velo import distance

SIZES = np.array([10.0, 990.0], np.float32)


def after(numerators, sums, initial=1e-4, is_held=False):
    """The estimates after a step that adds these numerators."""
    start = distance.init_distance(2, initial)
    inner_products = jnp.asarray(numerators) / initial  # the step's weight is estimate * rate
    rate, sums, is_held = jnp.float32(1.0), jnp.asarray(sums), jnp.asarray(is_held)
    return distance.update_distance(start, rate, 0.9, inner_products, sums, SIZES, is_held)


def test_the_estimate_is_the_ratio_of_the_sums():
    found = after([0.02, 0.06], [4.0, 4.0])
    assert found.estimate == pytest.approx(0.08 / 8.0)
    np.testing.assert_allclose(found.per_tensor, [0.005, 0.015], rtol=1e-6)


def test_one_small_tensor_with_huge_gradients_does_not_set_it():
    found = after([1e6, 0.06], [1e5, 4.0])
    np.testing.assert_allclose(found.per_tensor, [10.0, 0.015], rtol=1e-6)
    assert found.estimate == pytest.approx(distance.LIMIT * (0.01 * 10.0 + 0.99 * 0.015), rel=1e-6)


def test_it_never_falls():
    found = after([-1.0, -1.0], [1.0, 1.0], initial=0.25)
    assert found.estimate == 0.25
    np.testing.assert_array_equal(found.per_tensor, [0.25, 0.25])


def test_it_is_held_as_it_is():
    held = after([0.02, 0.06], [4.0, 4.0], is_held=True)
    jax.tree.map(np.testing.assert_array_equal, held, distance.init_distance(2, 1e-4))


@pytest.mark.parametrize("is_rising", [False, True])
def test_it_grows_only_while_the_loss_does_not_rise(is_rising):
    tx = velo.optimizer(num_steps=100, weights="untrained")
    params, grads = {"w": jnp.ones((4, 4))}, {"w": jnp.ones((4, 4))}
    state = tx.init(params)
    update = jax.jit(lambda state, params, loss: tx.update(grads, state, params, value=loss))
    for step in range(12):
        updates, state = update(state, params, jnp.float32(2.0**step if is_rising else -(2.0**step)))
        params = jax.tree.map(jnp.add, params, updates)
    estimate = find(state, distance.Distance).estimate
    assert (estimate == pytest.approx(velo.VeLO().initial_distance)) == is_rising


def find(state, kind):
    """The one value of this type in a state."""
    leaves = jax.tree.leaves(state, is_leaf=lambda leaf: isinstance(leaf, kind))
    (found,) = [leaf for leaf in leaves if isinstance(leaf, kind)]
    return found
