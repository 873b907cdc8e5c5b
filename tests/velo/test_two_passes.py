"""The fast updates of the released architectures are the plain ones."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import velo
from tests.velo import reference_steered as reference
from tests.velo.registry import random_tree, theta_of
from velo.architectures.pages import BLOCK_SIZE
from velo.architectures.published import arrangement

NUM_STEPS = 20
SHAPES = {
    "vector_of_blocks": (BLOCK_SIZE + 100,),
    "scalar": (),
    "kernel": (3, 3, 2, 5),
    "middle": (6, 2, 7, 3),  # factored over dimensions that are not the last
    "rows": (3, 96, 256),
    "tall": (300, 64),
    "tall_too": (300, 64),
    "wide": (5, 48),
    "gain": (7,),
}
ARCHITECTURES = {
    "HyperV2": velo.HyperV2(lstm_size=3, num_mixtures=2, mlp_depth=1),
    "AdafacMLP": velo.AdafacMLP(mlp_width=3),
    "AdafacMLP, wide": velo.AdafacMLP(mlp_width=12, mlp_depth=1),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_fast_update_is_the_reference(name):
    architecture = ARCHITECTURES[name]
    theta = theta_of(architecture)
    txs = [architecture.bind(theta, NUM_STEPS), reference.bind(architecture, theta, NUM_STEPS)]
    params = random_tree(SHAPES, 0)
    states = [tx.init(params) for tx in txs]
    update = [jax.jit(lambda *args, tx=tx: tx.update(*args[:3], value=args[3])) for tx in txs]
    for number in range(4):
        grads = jax.tree.map(lambda x, y: 0.1 * x + y * (jnp.abs(y) > 0.3), params, random_tree(SHAPES, number + 1))
        value = jnp.float32(2.0 - 0.1 * number)
        results = [one(grads, state, params, value) for one, state in zip(update, states, strict=True)]
        (updates, want), states = zip(*results, strict=True)
        for name in SHAPES:
            size = float(jnp.abs(want[name]).max())
            np.testing.assert_allclose(updates[name], want[name], rtol=1e-4, atol=2e-5 * size, err_msg=name)
        params = optax.apply_updates(params, updates)


def test_large_tensors_lie_in_pages_that_divide_their_rows():
    """Of a common width where that isn't short; small and odd ones, and vectors, share pages."""
    shapes = ((300, 64), (7,), (3, 96, 256), (12, 100), (700, 101), (300, 64))
    found = arrangement.Arrangement(shapes)
    assert [part.by_rows for part in found.parts] == [False, True, True]
    packed, narrow, own = (part.layout for part in found.parts)
    assert (packed.shapes, narrow.page_size, own.page_size) == (((7,), (12, 100)), 64, 101)
    assert sorted(narrow.shapes) == [(3, 96, 256), (300, 64), (300, 64)]
    assert found.restore(found.sort(list(range(6)))) == list(range(6))
