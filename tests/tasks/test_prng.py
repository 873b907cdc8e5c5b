"""The written-out generator gives the numbers of jax.random."""

import time

import jax
import numpy as np
import pytest

from tasks import prng

KEY = jax.random.key(7)


@pytest.mark.parametrize("shape", [(), (5,), (3, 0), (3, 7, 2)])
@pytest.mark.parametrize("name", ["bits", "uniform", "normal"])
def test_numbers_are_those_of_jax(name, shape):
    numbers = getattr(prng, name)(KEY, shape)
    np.testing.assert_array_equal(numbers, getattr(jax.random, name)(KEY, shape))
    assert numbers.dtype == getattr(jax.random, name)(KEY, shape).dtype


def test_keys_are_those_of_jax():
    for data in (0, 5, 2**31 - 1):
        ours, theirs = prng.fold_in(KEY, data), jax.random.fold_in(KEY, data)
        np.testing.assert_array_equal(jax.random.key_data(ours), jax.random.key_data(theirs))
    ours, theirs = prng.split(KEY, 3), jax.random.split(KEY, 3)
    np.testing.assert_array_equal(jax.random.key_data(ours), jax.random.key_data(theirs))


def test_a_chain_of_keys_compiles_at_once():
    """Fused with each other, the rounds of three generations took jaxlib 0.11 minutes."""

    def numbers(key):
        for data in range(4):
            key = prng.split(prng.fold_in(key, data))[1]
        return prng.uniform(key, (3,))

    begin = time.process_time()
    jax.jit(numbers).lower(KEY).compile()
    assert time.process_time() - begin < 30


def test_bounds_and_lanes():
    numbers = prng.uniform(KEY, (9,), -2.0, 3.0)
    np.testing.assert_allclose(numbers, jax.random.uniform(KEY, (9,), minval=-2.0, maxval=3.0), rtol=1e-5, atol=1e-6)
    keys = jax.random.split(KEY, 4)
    np.testing.assert_array_equal(
        jax.vmap(lambda key: prng.normal(key, (3,)))(keys), jax.vmap(lambda key: jax.random.normal(key, (3,)))(keys)
    )


def test_too_many_numbers_are_refused():
    with pytest.raises(ValueError, match="less than 2"):
        prng.bits(KEY, (1 << 16, 1 << 16))
