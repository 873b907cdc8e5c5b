"""Classical functions, convolution, recurrence and attention against plain references."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tasks.families import attention, draws, layers, patches
from tasks.families.classical_function import FUNCTIONS


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_classical_function_has_its_minimum_of_zero_at_zero(name):
    function, typical = FUNCTIONS[name]
    np.testing.assert_allclose(function(jnp.zeros(4)), 0.0, atol=1e-4)
    values = jax.jit(jax.vmap(function))(jax.random.normal(jax.random.key(0), (2000, 4)))
    assert float(values.min()) > -1e-4
    np.testing.assert_allclose(float(values.mean()), typical, rtol=0.7)


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (2, 2), (3, 1), (3, 2)])
def test_forms_of_a_convolution_agree(size, stride):
    key_x, key_w = jax.random.split(jax.random.key(0))
    x = jax.random.normal(key_x, (2, 8, 8, 3))
    layer = {"w": jax.random.normal(key_w, (size, size, 3, 4)), "b": jnp.arange(4.0)}
    expected = layers.conv_by_xla(layer, x, stride)
    np.testing.assert_allclose(layers.conv_by_slices(layer, x, stride), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layers.conv(layer, x, stride), expected, rtol=1e-4, atol=1e-5)


def test_attention_sees_no_later_inputs():
    x = jax.random.normal(jax.random.key(0), (1, 5, 4))
    changed = x.at[:, 3].add(1.0)
    one, other = (attention.attend(y, y, y, 2, causal=True) for y in (x, changed))
    np.testing.assert_array_equal(one[:, :3], other[:, :3])
    assert not np.allclose(one[:, 3:], other[:, 3:])


def test_patches_tile_the_image():
    image = jnp.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(patches.cut(image, 2)[0, 1], [2.0, 3.0, 6.0, 7.0])


def test_zipf_tokens_halve_with_the_rank():
    tokens = np.asarray(draws.zipf(jax.random.uniform(jax.random.key(0), (200_000,)), 64))
    counts = np.bincount(tokens, minlength=64)
    assert tokens.max() == 63
    np.testing.assert_allclose(counts[0] / counts[1], np.log(2) / np.log(1.5), rtol=0.05)


def test_integers_cover_their_range():
    numbers = np.asarray(draws.integers(jax.random.key(0), (1000,), 7))
    assert set(numbers.tolist()) == set(range(7))
