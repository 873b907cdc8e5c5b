"""The architectures without recordings against slow NumPy implementations, written independently from the papers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.velo.reference_celo2 import Adam, Tensor, rate
from tests.velo.reference_rnn_mlp import RNNMLP
from tests.velo.registry import ARCHITECTURES, theta_of

SHAPES = {"a_kernel": (4, 7), "b_bias": (6,), "c_conv": (2, 3, 5, 4), "d_embed": (3, 4), "e_tall": (6, 2), "f_gain": ()}
NUM_STEPS = 8


def problem():
    random = np.random.default_rng(3)
    params = {name: np.asarray(random.standard_normal(shape), np.float32) for name, shape in SHAPES.items()}
    scales = 10.0 ** random.uniform(-3, 1, NUM_STEPS)
    grads = [
        {name: np.asarray(scale * random.standard_normal(shape), np.float32) for name, shape in SHAPES.items()}
        for scale in scales
    ]
    return params, grads, np.exp(-np.arange(NUM_STEPS) / 4) + 0.1 * random.random(NUM_STEPS)


def trajectory(architecture, theta):
    params, grads, losses = problem()
    params = jax.tree.map(jnp.asarray, params)
    tx = architecture.bind(theta, NUM_STEPS)
    state = tx.init(params)
    step = jax.jit(lambda grads, state, params, loss: tx.update(grads, state, params, value=loss))
    for grad, loss in zip(grads, losses, strict=True):
        updates, state = step(jax.tree.map(jnp.asarray, grad), state, params, jnp.float32(loss))
        params = optax.apply_updates(params, updates)
        yield params


def in_float64(theta):
    return jax.tree.map(lambda leaf: np.asarray(leaf, float), theta)


def test_rnn_mlp():
    architecture = ARCHITECTURES["RNNMLP"]
    theta = jax.tree.map(lambda leaf: 3.0 * leaf, theta_of(architecture))
    params, grads, losses = problem()
    reference = RNNMLP(in_float64(theta), [params[name] for name in sorted(params)])
    for got, grad, loss in zip(trajectory(architecture, theta), grads, losses, strict=True):
        reference.update([grad[name] for name in sorted(grad)], loss)
        for name, want in zip(sorted(got), reference.params, strict=True):
            moved = np.max(np.abs(want - params[name]))
            np.testing.assert_allclose(got[name], want, atol=2e-7 + 1e-4 * moved, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("orthogonalize", [True, False])
def test_celo2(orthogonalize):
    architecture = dataclasses.replace(
        ARCHITECTURES["Celo2"],
        orthogonalize=orthogonalize,
        learning_rate=0.01,
        warmup_fraction=0.25,
        adam_scale=0.5,
        weight_decay=0.1,
    )
    theta = theta_of(architecture)
    params, grads, _ = problem()
    layers = in_float64(theta)["network"]
    learned = [name for name, shape in SHAPES.items() if not orthogonalize or (len(shape) > 1 and name != "d_embed")]
    assert len(learned) == (3 if orthogonalize else 6)
    tensors = {name: Tensor(layers, SHAPES[name]) if name in learned else Adam() for name in SHAPES}
    want = {name: np.asarray(leaf, float) for name, leaf in params.items()}
    for count, (got, grad) in enumerate(zip(trajectory(architecture, theta), grads, strict=True)):
        for name, tensor in tensors.items():
            step = tensor.direction(grad[name], want[name], orthogonalize) + 0.1 * want[name]
            scale = 1.0 if name in learned else 0.5
            want[name] = want[name] - scale * rate(count, NUM_STEPS, 0.01, 0.25) * step
            np.testing.assert_allclose(got[name], want[name], atol=2e-5, rtol=1e-6, err_msg=f"{name} {count}")
