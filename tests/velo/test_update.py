"""The fast update is the plain one, in the memory and in the compile time that it promises."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.velo import reference_velo
from tests.velo.registry import random_tree, use_kernel
from tests.velo.test_velo import trained_theta
from velo import HyperV2, VeLO
from velo.architectures.pages import BLOCK_SIZE

BASES = {
    # Large steps, since the distance moved is a difference of rotated numbers, which has its own rounding error.
    "kronecker": VeLO(
        lstm_size=3,
        num_mixtures=2,
        mlp_width=3,
        mlp_depth=1,
        max_side=24,
        refresh_every=2,
        initial_distance=0.1,
    ),
    "elementwise": VeLO(lstm_size=3, num_mixtures=2, mlp_width=3, mlp_depth=1, basis="elementwise"),
}
NUM_STEPS = 20
VELO = VeLO(lstm_size=64, num_mixtures=16, basis="elementwise")
IN_EIGENBASIS = VeLO(lstm_size=64, num_mixtures=16)
SHAPES = {
    "elementwise": {
        "scalar": (),
        "small": {"gain": (7,), "kernel": (3, 3, 2, 5)},
        "several_pages": (40, 33),
        "several_blocks": (3, BLOCK_SIZE),
    },
    # Only squares turn on both sides: the longer side of others has a factor without full rank, whose null space both
    # versions choose freely.
    "kronecker": {
        "scalar": (),
        "small": {"gain": (7,), "kernel": (2, 2, 2, 8), "row": (1, 5)},
        "four_squares": (36, 36),
        "several_blocks": (3, BLOCK_SIZE),
    },
}


def tree(seed, basis):
    flat, treedef = jax.tree.flatten(SHAPES[basis], is_leaf=lambda shape: isinstance(shape, tuple))
    return treedef.unflatten(random_tree(dict(enumerate(flat)), seed).values())


def theta_of(architecture):
    """A theta that, in the eigenbasis, ignores how far the parameters have moved, which at first is only rounding."""
    theta = trained_theta(architecture)
    if architecture.has_basis:
        theta["bank"][0]["w"] = theta["bank"][0]["w"].at[:, :, 2].set(0.0)
    return theta


def jitted(tx):
    return jax.jit(lambda grads, state, params, value: tx.update(grads, state, params, value=value))


@pytest.fixture(scope="module", params=BASES)
def updates_in_a_row(request):
    """A run of the fast update: its architecture, and (arguments, results) of each update."""
    architecture = BASES[request.param]
    tx = architecture.bind(theta_of(architecture), NUM_STEPS)
    update, params, record = jitted(tx), tree(0, request.param), []
    state = jax.jit(tx.init)(params)
    for number in range(5):
        grads = jax.tree.map(lambda x, y: 0.1 * x + y * (jnp.abs(y) > 0.3), params, tree(number + 1, request.param))
        arguments = grads, state, params, jnp.float32(2.0 - 0.1 * number)
        updates, state = update(*arguments)
        record.append((arguments, (updates, state)))
        params = optax.apply_updates(params, updates)
    return architecture, record


def test_the_fast_update_is_the_reference(updates_in_a_row):
    architecture, record = updates_in_a_row
    tx = reference_velo.bind(architecture, theta_of(architecture), NUM_STEPS)
    update, state = jitted(tx), jax.jit(tx.init)(tree(0, architecture.basis))
    rtol, atol = (5e-3, 2e-3) if architecture.has_basis else (5e-4, 1e-5)  # QR amplifies rounding
    for (grads, _, params, value), (updates, fast_state) in record:
        want, state = update(grads, state, params, value)
        scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(want))
        for a, b in zip(jax.tree.leaves(updates), jax.tree.leaves(want), strict=True):
            np.testing.assert_allclose(a, b, rtol=rtol, atol=atol * scale)
        np.testing.assert_allclose(fast_state.lstm.hidden, state.lstm.hidden, atol=0.1 * rtol)
        np.testing.assert_allclose(fast_state.distance.per_tensor, state.distance.per_tensor, rtol=1e-3)


def test_the_kernel_s_update_is_the_fast_one(updates_in_a_row, monkeypatch):
    use_kernel(monkeypatch)
    architecture, record = updates_in_a_row
    update = jitted(architecture.bind(theta_of(architecture), NUM_STEPS))
    for arguments, (updates, state) in record:
        got = update(*arguments)
        scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(updates))
        rtol, atol = (2e-4, 1e-4) if architecture.has_basis else (2e-5, 2e-6)  # QR amplifies rounding
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves((updates, state)), strict=True):
            # Bases and factors have sizes of their own.
            own = float(jnp.abs(b).max(initial=0.0)) if architecture.has_basis else scale
            np.testing.assert_allclose(a, b, rtol=rtol, atol=atol * own)


def compiled(shapes, architecture=VELO):
    num_steps = 100 + time.time_ns() % 100_000_000  # no program of a cache has this constant
    params = {str(index): jax.ShapeDtypeStruct(shape, jnp.float32) for index, shape in enumerate(shapes)}
    theta = jax.eval_shape(architecture.init, jax.random.key(0))
    state = jax.eval_shape(lambda theta, params: architecture.bind(theta, num_steps).init(params), theta, params)

    def update(theta, grads, state, params, value):
        updates, state = architecture.bind(theta, num_steps).update(grads, state, params, value=value)
        return optax.apply_updates(params, updates), state

    start = time.process_time()
    program = jax.jit(update, donate_argnums=(2, 3)).lower(theta, params, state, params, jnp.float32(1.0)).compile()
    return program, time.process_time() - start


@pytest.mark.parametrize(("architecture", "limit"), [(VELO, 11), (HyperV2(lstm_size=8, num_mixtures=2), 16)])
def test_temporaries_are_two_copies_of_the_parameters(architecture, limit):
    """Or three. The limit reveals a copy of a state array per block, which XLA makes if it can't update in place."""
    shapes = [(512, 512)] * 3 + [(512,)] * 4
    program, _ = compiled(shapes, architecture)
    num_parameters = sum(int(np.prod(shape)) for shape in shapes)
    assert program.memory_analysis().temp_size_in_bytes < limit * num_parameters


def test_the_number_of_tensors_hardly_shows_in_the_compile_time():
    """Without slices at runtime indices, compiling would take several times as long."""
    _, few = compiled([(16, 24), (24,)] * 4)
    _, many = compiled([(16, 24), (24,)] * 100)
    assert many < 3 * few
