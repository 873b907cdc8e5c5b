"""Elementwise weights from before the eigenbasis still give the steps that were recorded with them."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import velo
from velo.architectures.velo import kernel

FOLDER = Path(__file__).parent
RECORDED = FOLDER / "recorded_elementwise.npz"
"""Updates of twelve steps, all tensors in a row, by name of the run; written by the version before the eigenbasis."""
FILES = {"fourth": velo.weights.LIGHT_WEIGHTS} | {
    name: FOLDER / "elementwise_weights" / f"{name}.velo" for name in ("first", "second", "third")
}
SHAPES = {"w": (6, 5), "k": (2, 2, 3, 4), "b": (5,), "s": ()}
NUM_STEPS = 12


def updates_of(path: Path) -> np.ndarray:
    random = np.random.default_rng(0)
    params = {name: jnp.asarray(0.3 * random.standard_normal(shape), jnp.float32) for name, shape in SHAPES.items()}
    tx = velo.optimizer(NUM_STEPS, path)
    update, state, record = jax.jit(lambda g, s, p, v: tx.update(g, s, p, value=v)), tx.init(params), []
    for number in range(NUM_STEPS):
        noise = {name: jnp.asarray(random.standard_normal(shape), jnp.float32) for name, shape in SHAPES.items()}
        grads = jax.tree.map(jnp.add, noise, params)
        updates, state = update(grads, state, params, jnp.float32(2.0 - 0.1 * number))
        params = optax.apply_updates(params, updates)
        record.append(np.concatenate([np.ravel(updates[name]) for name in sorted(updates)]))
    return np.stack(record)


@pytest.mark.parametrize("name", FILES)
def test_the_steps_are_those_recorded(name, monkeypatch):
    monkeypatch.setenv(kernel.VARIABLE, "off")
    assert velo.load_weights(FILES[name])[0].basis == "elementwise"
    want = np.load(RECORDED)[name]
    np.testing.assert_allclose(updates_of(FILES[name]), want, rtol=1e-5, atol=1e-6 * np.abs(want).max())
