"""The guard shortens the gradient of one bad batch, leaves usual gradients alone, and adapts to a new usual size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from velo.architectures.velo import guard
from velo.architectures.velo.architecture import VeLO

SQUARE = jnp.sum(guard.squared_norms([jnp.full((4, 4), 0.2), jnp.full(9, 0.2)]))  # of norm one


def factors(lengths):
    usual, found = guard.init_usual(), []
    for length in lengths:
        factor, usual = jax.jit(guard.shorten)(usual, length**2 * SQUARE)
        found.append(float(factor))
    return found


def test_lengths_up_to_the_limit_pass_untouched():
    assert factors([1.0, 4.9, 0.01, 1.0, 4.0, 2.0]) == [1.0] * 6


def test_a_spike_is_as_long_as_the_limit_and_hardly_moves_it():
    *_, spike, after, second = factors([1.0] * 50 + [1000.0, 1.0, 1000.0])
    np.testing.assert_allclose(spike * 1000.0, guard.LIMIT, rtol=1e-5)
    assert after == 1.0
    assert guard.LIMIT < second * 1000.0 < 2 * guard.LIMIT


def test_a_hundred_times_the_length_is_usual_after_some_steps():
    found = factors([1.0] * 50 + [100.0] * 30)
    assert found[50] < 0.1
    assert found[-1] == 1.0


@pytest.mark.parametrize("length", [0.0, jnp.nan, 1e25])
def test_what_has_no_length_changes_nothing(length):
    usual = guard.Usual(jnp.asarray(1.0), jnp.asarray(1.0))
    factor, after = guard.shorten(usual, length**2 * SQUARE)
    assert float(factor) == 1.0
    assert after == usual


def test_a_bad_batch_does_not_stop_the_training():
    """Without the guard, its square in the second moment would make the following steps thirty times shorter."""
    architecture = VeLO(lstm_size=4, num_mixtures=2)
    tx = architecture.bind(architecture.init(jax.random.key(0)), 1000)
    params = {"w": jnp.ones((3, 5))}
    state = tx.init(params)
    update = jax.jit(tx.update)
    sizes = []
    for length in [1.0] * 30 + [1000.0] + [1.0] * 30:
        updates, state = update({"w": jnp.full((3, 5), length)}, state, params, value=1.0)
        sizes.append(float(jnp.abs(updates["w"]).max()))
    assert sizes[-1] > 0.5 * sizes[29]
    assert max(sizes) < 5 * sizes[29]
