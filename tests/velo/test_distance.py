"""The estimate of the distance to the solution: Prodigy's ratio, and its limit."""

import jax.numpy as jnp
import numpy as np
import pytest

from velo.architectures.velo import distance

SIZES = np.array([10.0, 990.0], np.float32)


def after(numerators, sums, initial=1e-4):
    """The estimates after a step that adds these numerators."""
    start = distance.init_distance(2, initial)
    inner_products = jnp.asarray(numerators) / initial  # the step's weight is estimate * rate
    return distance.update_distance(start, jnp.float32(1.0), 0.9, inner_products, jnp.asarray(sums), SIZES)


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
