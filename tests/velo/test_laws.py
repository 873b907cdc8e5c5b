"""What holds of every architecture as an optax transformation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import velo
from tests.velo.registry import ARCHITECTURES, NUM_STEPS, random_tree, theta_of

SHAPES = {"bias": (5,), "kernel": (4, 5), "gain": ()}
RANKS = {
    "scalar": (),
    "vector": (3,),
    "one": (1,),
    "empty": (0,),
    "empty_matrix": (0, 3),
    "matrix": (2, 3),
    "row": (1, 4),
    "cube": (2, 1, 3),
    "kernel": (2, 2, 3, 4),
}
each = pytest.mark.parametrize("name", ARCHITECTURES)


def test_every_architecture_is_here():
    assert {name.split(",")[0] for name in ARCHITECTURES} == set(velo.ARCHITECTURES)


@functools.cache
def bound(name):
    architecture = ARCHITECTURES[name]
    return architecture.bind(theta_of(architecture), NUM_STEPS)


@functools.cache
def step(name):
    """One compiled update, shared by the tests that use the same shapes."""
    tx = bound(name)

    def one(grads, state, params, value):
        updates, state = tx.update(grads, state, params, value=value)
        return updates, state, optax.apply_updates(params, updates)

    return jax.jit(one)


def run(name, params, grads, num_updates=2):
    state = bound(name).init(params)
    for number in range(num_updates):
        updates, state, params = step(name)(grads, state, params, jnp.float32(2.0 - number))
    return updates, state, params


def assert_close(got, want, rtol=2e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-8), got, want)


@each
def test_second_update_does_not_recompile_and_dtypes_stay(name):
    params, grads = random_tree(SHAPES, 0), random_tree(SHAPES, 1)
    params["kernel"] = params["kernel"].astype(jnp.bfloat16)
    state = bound(name).init(params)
    compiled = jax.jit(lambda grads, state, params, value: bound(name).update(grads, state, params, value=value))
    before = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), state)
    for number in range(3):
        updates, state = compiled(grads, state, params, jnp.float32(number))
        params = optax.apply_updates(params, updates)
    assert compiled._cache_size() == 1
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), state) == before
    assert jax.tree.map(lambda leaf: leaf.dtype, updates) == jax.tree.map(lambda leaf: leaf.dtype, params)
    floating = {leaf.dtype for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)}
    assert floating == {jnp.dtype(jnp.float32)}
    assert all(np.all(np.isfinite(leaf.astype(jnp.float32))) for leaf in jax.tree.leaves((updates, state)))
    assert any(np.any(leaf != 0) for leaf in jax.tree.leaves(updates))


@each
def test_ranks_empty_and_size_one_tensors(name):
    params, grads = random_tree(RANKS, 0), random_tree(RANKS, 1)
    updates, state, _ = run(name, params, grads)
    assert jax.tree.map(jnp.shape, updates) == jax.tree.map(jnp.shape, params)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((updates, state)))


@each
def test_broken_gradients_and_losses_do_not_break_the_state(name):
    params, grads = random_tree(SHAPES, 0), random_tree(SHAPES, 1)
    state = bound(name).init(params)
    bad = {**grads, "kernel": grads["kernel"].at[0, 0].set(jnp.nan).at[1, 1].set(jnp.inf)}
    for value, gradient in [(1.0, grads), (np.nan, grads), (np.inf, bad), (0.5, grads)]:
        updates, state, params = step(name)(gradient, state, params, jnp.float32(value))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((updates, state, params)))


@each
def test_order_of_the_leaves_does_not_matter(name):
    order = {"bias": "z", "kernel": "y", "gain": "x"}
    params, grads = random_tree(SHAPES, 0), random_tree(SHAPES, 1)
    _, _, want = run(name, params, grads)
    _, _, got = run(name, *({order[key]: leaf for key, leaf in tree.items()} for tree in (params, grads)))
    assert_close({key: got[order[key]] for key in want}, want)


@each
def test_extra_arguments_are_ignored_and_chain_passes_the_loss(name):
    params, grads = random_tree(SHAPES, 0), random_tree(SHAPES, 1)
    tx = optax.chain(optax.scale(1.0), bound(name), optax.scale(0.5))
    update = jax.jit(lambda state: tx.update(grads, state, params, value=jnp.float32(2.0), grad=grads, other=3))
    got, _ = update(tx.init(params))
    want, _, _ = run(name, params, grads, 1)
    assert_close(got, jax.tree.map(lambda leaf: 0.5 * leaf, want))


@each
def test_masked_multi_steps_and_map_params(name):
    """All three wrappers at once, to compile once."""
    params, grads = random_tree(SHAPES, 0), random_tree(SHAPES, 1)
    masked = optax.masked(bound(name), {"bias": False, "kernel": True, "gain": True}, mask_compatible_extra_args=True)
    tx = optax.MultiSteps(masked, every_k_schedule=2).gradient_transformation()
    state = tx.init(params)
    update = jax.jit(lambda grads, state: tx.update(grads, state, params, value=jnp.float32(2.0)))
    first, state = update(jax.tree.map(lambda leaf: 0.5 * leaf, grads), state)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(first))
    second, state = update(jax.tree.map(lambda leaf: 1.5 * leaf, grads), state)
    part = {key: leaf for key, leaf in params.items() if key != "bias"}
    want, _, _ = run(name, part, {key: grads[key] for key in part}, 1)
    np.testing.assert_allclose(second["bias"], grads["bias"], rtol=1e-5)  # optax.masked passes the rest through
    assert_close({key: second[key] for key in part}, want)

    mapped = optax.tree.map_params(bound(name), lambda leaf: leaf, bound(name).init(params))
    assert jax.tree.structure(mapped) == jax.tree.structure(bound(name).init(params))


@each
def test_vmap_over_theta_is_a_loop(name):
    architecture = ARCHITECTURES[name]
    params, grads = random_tree(SHAPES, 0), random_tree(SHAPES, 1)
    theta = theta_of(architecture)
    thetas = jax.tree.map(lambda leaf: jnp.stack([leaf, 0.9 * leaf]), theta)

    def two(theta, num_steps):
        tx = architecture.bind(theta, num_steps)
        state, moved = tx.init(params), params
        for value in (2.0, 1.0):
            updates, state = tx.update(grads, state, moved, value=jnp.float32(value))
            moved = optax.apply_updates(moved, updates)
        return moved

    got = jax.jit(jax.vmap(two))(thetas, jnp.array([NUM_STEPS, NUM_STEPS]))
    _, _, want = run(name, params, grads, 2)
    assert_close(jax.tree.map(lambda leaf: leaf[0], got), want)
    assert any(np.any(leaf[0] != leaf[1]) for leaf in jax.tree.leaves(got))


@each
def test_state_can_be_donated(name):
    """No two leaves of a new state share a buffer, and none shares one with the parameters or theta."""
    architecture = ARCHITECTURES[name]
    theta, params = theta_of(architecture), random_tree({"one": (1, 128), "bias": (3,)}, 0)
    state = velo.optimizer(NUM_STEPS, (architecture, theta)).init(params)
    leaves = [leaf for leaf in jax.tree.leaves((state, params, theta)) if leaf.size]
    pointers = [leaf.unsafe_buffer_pointer() for leaf in leaves]
    assert len(set(pointers)) == len(pointers)


@each
def test_missing_value_is_named(name):
    params = random_tree(SHAPES, 0)
    with pytest.raises(ValueError, match="value=loss"):
        bound(name).update(params, bound(name).init(params), params)
    with pytest.raises(ValueError, match="reads the parameters"):
        bound(name).update(params, bound(name).init(params), value=1.0)


@each
def test_state_shards_stably_on_eight_devices(name):
    if len(jax.devices()) != 8:
        pytest.skip("the test session has no eight host devices")
    mesh = jax.make_mesh((8,), ("model",), axis_types=(jax.sharding.AxisType.Auto,))
    shapes = {"kernel": (16, 3), "bias": (8,)}
    place = jax.sharding.PartitionSpec
    shard = {name: jax.sharding.NamedSharding(mesh, place("model")) for name in shapes}
    params, grads = random_tree(shapes, 0), random_tree(shapes, 1)
    _, _, want = run(name, params, grads)
    params, grads = jax.device_put(params, shard), jax.device_put(grads, shard)
    state = jax.jit(bound(name).init)(params)
    compiled = jax.jit(step(name), out_shardings=(None, None, shard))
    shardings = []
    for number in range(3):
        _, state, params = compiled(grads, state, params, jnp.float32(2.0 - number))
        shardings.append(jax.tree.map(lambda leaf: leaf.sharding, state))
        if number == 1:
            assert_close(params, want)
    assert shardings[0] == shardings[1] == shardings[2]
    assert compiled._cache_size() <= 2  # of what `init` places, and of what an update does
