"""Laws that every task family and wrapper obeys, as one table; in float64, so that the tolerances are tight."""

import collections
import dataclasses
import functools
import pickle

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from tasks import mixture, public
from tasks.family import NORMALIZED_RANGE
from tasks.wrappers.linearly_normalized import LinearlyNormalized
from tasks.wrappers.undisturbed import Undisturbed
from tests.tasks.tiny_families import CUSTOM_GRADIENTS, FAMILIES, SLOW, WRAPPERS

INSTANCES = FAMILIES | WRAPPERS


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in sorted(INSTANCES)]
)
def name(request):
    return request.param


@pytest.fixture
def family(name):
    return INSTANCES[name]


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def start(family, data, key):
    """Draw, initial parameters and first batch of one task, and the key of its noise."""
    key_draw, key_init, key_batch, key_loss = jax.random.split(key, 4)
    draw = family.draw(key_draw)
    return draw, family.init(draw, key_init), family.batch(data, key_batch), key_loss


def directions(size):
    """Two directions of unit length, by index."""
    rows = jnp.sin(jnp.array([[0.7], [1.9]]) * (1.0 + jnp.arange(size))[None])
    return rows / jnp.linalg.norm(rows, axis=1, keepdims=True)


def evaluate(family, data, key, shift, direction):
    """(loss, gradient) of one task from scratch, near its initial parameters plus `shift` along a direction.

    And the arguments of the loss.
    """
    draw, params, batch, key_loss = start(family, data, key)
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    # Away from the kinks of relu at the initial zeros.
    flat = flat + 0.01 * jnp.sin(jnp.arange(flat.size)) + shift * directions(flat.size)[direction]
    params = unravel(flat)
    loss, grads = jax.value_and_grad(family.loss, argnums=1)(draw, params, batch, key_loss)
    return loss, jax.flatten_util.ravel_pytree(grads)[0], (draw, params, batch, key_loss)


@functools.cache
def jitted(family):
    return jax.jit(functools.partial(evaluate, family))


def test_registry_is_covered():
    assert {type(family) for family in FAMILIES.values()} >= set(mixture.FAMILIES.values())
    inner = {type(family.family) for family in public.FAMILIES.values() if isinstance(family, Undisturbed)}
    assert {type(family) for family in FAMILIES.values()} >= inner


@pytest.mark.usefixtures("x64")
def test_loss_is_finite_and_most_parameters_matter(family):
    data = family.load()[0]
    losses, grads, _ = zip(*[jitted(family)(data, jax.random.key(seed), 0.0, 0) for seed in range(8)], strict=True)
    assert np.all(np.isfinite(losses))
    assert np.all(np.isfinite(grads))
    assert 0 < np.mean(losses) < 20 * family.reference_loss
    used = np.mean(np.any(np.asarray(grads) != 0, axis=0))
    assert used > 0.4, f"only {used:.0%} of the parameters ever have a gradient"


@pytest.mark.usefixtures("x64")
def test_jit_equals_eager(family):
    loss, _, arguments = jitted(family)(family.load()[0], jax.random.key(1), 0.0, 0)
    np.testing.assert_allclose(loss, family.loss(*arguments), rtol=1e-6)


@pytest.mark.usefixtures("x64")
def test_vmap_equals_loop(family):
    data, keys = family.load()[0], jax.random.split(jax.random.key(2), 3)
    batched = jax.jit(jax.vmap(functools.partial(evaluate, family), in_axes=(None, 0, None, None)))
    losses, grads, _ = batched(data, keys, 0.0, 0)
    singles = [jitted(family)(data, key, 0.0, 0) for key in keys]
    np.testing.assert_allclose(losses, [single[0] for single in singles], rtol=1e-6)
    np.testing.assert_allclose(grads, [single[1] for single in singles], rtol=5e-5, atol=1e-8)


@pytest.mark.usefixtures("x64")
def test_gradients_match_finite_differences(name, family):
    if name in CUSTOM_GRADIENTS:
        return  # not the loss's own gradient, on purpose; test_wrappers compares it with what it should be
    data, key = family.load()[0], jax.random.key(3)
    grad = jitted(family)(data, key, 0.0, 0)[1]
    assert grad.dtype == jnp.float64
    for direction, slope in enumerate(directions(grad.size) @ grad):
        up, down = (jitted(family)(data, key, shift, direction)[0] for shift in (1e-6, -1e-6))
        np.testing.assert_allclose(up - down, 2e-6 * slope, rtol=1e-4, atol=1e-13)


def test_shapes_depend_on_the_family_alone(family):
    """Tracing with an abstract key proves it; strong types keep a second call from compiling again."""
    draw, params, batch, _ = jax.eval_shape(functools.partial(start, family), family.load()[0], jax.random.key(0))
    assert not any(leaf.weak_type for leaf in jax.tree.leaves((draw, params, batch)))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
    assert len({leaf.shape[0] for leaf in jax.tree.leaves(batch)}) == 1, "the leading axis counts examples"
    assert jax.eval_shape(family.loss, draw, params, batch, jax.random.key(0)).shape == ()


def test_equal_families_trace_once_and_travel(family):
    num_traces = collections.Counter()

    @functools.partial(jax.jit, static_argnums=0)
    def use(family, key):
        num_traces[family] += 1
        return key

    twin, other = dataclasses.replace(family), pickle.loads(pickle.dumps(family))
    assert twin == family == other
    assert hash(twin) == hash(family) == hash(other)
    for one in (family, twin, other):
        use(one, jax.random.key(0))
    assert num_traces[family] == 1


@functools.partial(jax.jit, static_argnums=0)
def normalize(family, losses):
    return jax.vmap(family.normalize)(losses)


def test_normalize_is_finite_bounded_and_monotone(family):
    reference = family.reference_loss
    losses = jnp.array([-1.0, 0.0, 1e-9, 0.5 * reference, reference, 2 * reference, 1e30, jnp.inf, jnp.nan])
    values = np.asarray(normalize(family, losses))
    low, high = (-10.0, 10.0) if isinstance(family, LinearlyNormalized) else NORMALIZED_RANGE
    assert np.all((values >= low) & (values <= high))
    assert np.all(np.diff(values[:-1]) >= 0)
    assert values[-1] == values[-2] == values.max()
    np.testing.assert_allclose(values[4], 0.0, atol=1e-6)
