"""`velo.averaged`: the average that it says, at any step, of any transformation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import velo
from tests.velo.probe import Probe

PARAMS = {"w": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3), "b": np.ones(3, np.float32)}
WEIGHTS = (Probe(), jnp.float32(0.1))


def test_is_the_weighted_mean_of_the_parameters_so_far():
    tx = velo.averaged(velo.optimizer(20, WEIGHTS))
    params, state, seen = jax.tree.map(jnp.asarray, PARAMS), tx.init(PARAMS), []
    update = jax.jit(tx.update)
    for step in range(1, 13):
        updates, state = update(params, state, params, value=jnp.float32(1.0))
        params = optax.apply_updates(params, updates)
        seen.append(np.asarray(params["w"]))
        weights = np.cumprod([1.0] + [(k + 8) / k for k in range(1, step)])  # (k + 1) ... (k + 8) over those of 1
        want = np.average(seen, axis=0, weights=weights)
        np.testing.assert_allclose(velo.averaged_params(state, params)["w"], want, rtol=1e-4, atol=1e-6)
    assert update._cache_size() == 1


def test_keeps_the_dtypes_of_the_parameters_and_sums_in_float32():
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), PARAMS)
    tx = velo.averaged(optax.sgd(0.1))
    state = tx.init(params)
    _, state = tx.update(params, state, params)
    assert state.mean["w"].dtype == jnp.float32
    assert velo.averaged_params(state, params)["w"].dtype == jnp.bfloat16
    blank = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(tx.init(blank)))


def test_with_fit_it_is_the_average_of_what_fit_returns():
    tx = velo.averaged(velo.optimizer(1000, WEIGHTS))
    seen = []
    fitted = velo.fit(
        lambda params, batch: jnp.sum(jnp.square(params["w"] - batch)),
        PARAMS,
        [np.float32(0.5), np.float32(0.0)],
        1000,
        tx=tx,
        callbacks=[lambda step: seen.append(np.asarray(step.state.params["w"]))],
        stop_when=lambda step: step.step == 3,
        progress=False,
    )
    weights = np.array([1.0, 9.0, 45.0])
    want = np.average(seen, axis=0, weights=weights)
    got = velo.averaged_params(fitted.state.opt_state, fitted.params)
    np.testing.assert_allclose(got["w"], want, rtol=1e-5)


def test_mistakes_are_named():
    tx = velo.averaged(optax.sgd(0.1))
    with pytest.raises(ValueError, match=r"needs them: call tx\.update"):
        tx.update(PARAMS, tx.init(PARAMS))
    with pytest.raises(ValueError, match=r"has 0 averages of parameters: make the optimizer with velo.averaged"):
        velo.averaged_params(optax.sgd(0.1).init(PARAMS), PARAMS)
