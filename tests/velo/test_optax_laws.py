"""What optax asks of its own optimizers, of `velo.optimizer` with every architecture: written anew after its tests.

Those of `optax/_src/alias_test.py` and `optax/contrib/_common_test.py`: stable dtypes (double precision included),
shardings, injected hyperparameters, accumulation, and states of parameters that exist as shapes alone.
"""

import contextlib
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import velo
from tests.velo.registry import ARCHITECTURES, NUM_STEPS, random_tree, theta_of

SHAPES = {"bias": (5,), "kernel": (4, 5), "gain": ()}
each = pytest.mark.parametrize("name", ARCHITECTURES)


@functools.cache
def optimizer(name, **options):
    return velo.optimizer(NUM_STEPS, (ARCHITECTURES[name], theta_of(ARCHITECTURES[name])), **options)


def signature(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), jax.tree.map(jax.typeof, tree))


def scanned(tx, params, grads, value):
    """Parameters and state after two updates; `lax.scan` refuses a state that changes its type."""

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(grads, state, params, value=value)
        return (optax.apply_updates(params, updates), state), updates

    return jax.lax.scan(step, (params, tx.init(params)), length=2)


@each
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
def test_the_state_keeps_its_dtypes(name, dtype):
    """In double precision too, whether the parameters are doubles or the loss is one alone."""
    tx = optimizer(name)
    precision = contextlib.nullcontext() if dtype == jnp.bfloat16 else jax.enable_x64(True)
    with precision:
        params, grads = random_tree(SHAPES, 0, dtype), random_tree(SHAPES, 1, dtype)
        state = tx.init(params)
        value = jnp.asarray(2.0, jnp.bfloat16 if dtype == jnp.bfloat16 else jnp.float64)
        (moved, after), updates = jax.jit(functools.partial(scanned, tx))(params, grads, value)
        assert signature(after) == signature(state)
        floating = {leaf.dtype for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)}
        assert floating == {jnp.dtype(jnp.float32)}
        assert {leaf.dtype for leaf in jax.tree.leaves((updates, moved))} == {jnp.dtype(dtype)}
        assert all(np.all(np.isfinite(leaf.astype(jnp.float32))) for leaf in jax.tree.leaves((moved, after)))


@each
def test_theta_is_float32_in_double_precision(name):
    with jax.enable_x64(True):
        theta = ARCHITECTURES[name].init(jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(theta)} == {jnp.dtype(jnp.float32)}
