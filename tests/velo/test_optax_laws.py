"""What optax asks of its own optimizers, of `velo.optimizer` with every architecture: written anew after its tests.

Those of `optax/_src/alias_test.py` and `optax/contrib/_common_test.py`: stable dtypes (double precision included),
shardings, injected hyperparameters, accumulation, and states of parameters that exist as shapes alone.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import velo
from tests.velo.registry import ARCHITECTURES, NUM_STEPS, double_precision, random_tree, theta_of
from velo import sharding

SHAPES = {"bias": (5,), "kernel": (4, 5), "gain": ()}
each = pytest.mark.parametrize("name", ARCHITECTURES)


@functools.cache
def optimizer(name, **options):
    return velo.optimizer(NUM_STEPS, (ARCHITECTURES[name], theta_of(ARCHITECTURES[name])), **options)


def signature(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), tree)


def scanned(tx, params, grads, value):
    """Parameters and state after two updates; `lax.scan` refuses a state that changes its type."""

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(grads, state, params, value=value)
        return (optax.apply_updates(params, updates), state), updates

    return jax.lax.scan(step, (params, tx.init(params)), length=2)


@each
def test_the_state_keeps_its_dtypes_in_double_precision(name):
    """For parameters in double and lower precision; the loss is in double precision."""
    tx = optimizer(name)
    with double_precision():
        dtypes = {"bias": jnp.float64, "kernel": jnp.float32, "gain": jnp.bfloat16}
        params = {key: random_tree({key: SHAPES[key]}, 0, dtype)[key] for key, dtype in dtypes.items()}
        state = tx.init(params)
        (moved, after), updates = jax.jit(functools.partial(scanned, tx))(params, params, jnp.float64(2.0))
        assert signature(after) == signature(state)
        floating = {leaf.dtype for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)}
        assert floating == {jnp.dtype(jnp.float32)}
        for tree in (updates, moved):
            assert jax.tree.map(lambda leaf: leaf.dtype, tree) == jax.tree.map(jnp.dtype, dtypes)
        assert all(np.all(np.isfinite(leaf.astype(jnp.float32))) for leaf in jax.tree.leaves((moved, after)))


@each
def test_theta_is_float32_in_double_precision(name):
    with double_precision():
        theta = ARCHITECTURES[name].init(jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(theta)} == {jnp.dtype(jnp.float32)}


@each
def test_parameters_that_are_shapes_alone_make_a_state_of_shapes(name):
    params = random_tree(SHAPES, 0)
    blank = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
    tx = optimizer(name)
    found, expected = tx.init(blank), tx.init(params)
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(found))
    assert signature(found) == signature(expected)


@each
def test_a_mesh_with_explicit_axes(name, monkeypatch):
    """Equals a run without a mesh; updates are placed like their parameters, large state arrays are sharded."""
    if len(jax.devices()) != 8:
        pytest.skip("the test session has no eight host devices")
    monkeypatch.setattr(sharding, "MIN_DIVIDED", 256)
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(jax.sharding.AxisType.Explicit,) * 2)
    specs = {"kernel": PartitionSpec("data", "model"), "bias": PartitionSpec("model"), "gain": PartitionSpec()}
    placing = {key: NamedSharding(mesh, spec) for key, spec in specs.items()}
    shapes = {**SHAPES, "kernel": (8, 4), "bias": (6,)}
    params, grads = random_tree(shapes, 0), random_tree(shapes, 1)
    tx = optimizer(name)
    want, _ = jax.jit(tx.update)(grads, tx.init(params), params, value=jnp.float32(2.0))
    params, grads = jax.device_put((params, grads), (placing, placing))
    state = tx.init(params)
    before = jax.tree.map(lambda leaf: leaf.sharding, state)
    with jax.set_mesh(mesh):
        tx = velo.optimizer(NUM_STEPS, (ARCHITECTURES[name], theta_of(ARCHITECTURES[name])))
        assert jax.tree.map(lambda leaf: leaf.sharding, jax.jit(tx.init)(params)) == before
        got, state = jax.jit(tx.update)(grads, state, params, value=jnp.float32(2.0))
    assert jax.tree.map(lambda leaf: leaf.sharding.spec, got) == specs
    assert jax.tree.map(lambda leaf: leaf.sharding, state) == before
    divided = [leaf for leaf in jax.tree.leaves(state) if not leaf.sharding.is_fully_replicated]
    assert divided or name in {"CeloAdam", "Celo2"}  # whose moments are small as their parameters
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), got, want)


@pytest.mark.parametrize("name", ["VeLO, elementwise", "Celo2"])
def test_scale_and_decay_may_be_injected_and_changed(name):
    """`num_steps` and the weights stay static; the optimizer is then made anew within every traced update."""
    params, grads = random_tree(SHAPES, 0), random_tree(SHAPES, 1)
    weights = (ARCHITECTURES[name], theta_of(ARCHITECTURES[name]))
    tx = optax.inject_hyperparams(velo.optimizer, static_args=("num_steps", "weights"))(
        num_steps=NUM_STEPS, weights=weights, step_scale=2.0, weight_decay=0.1
    )
    update = jax.jit(lambda state: tx.update(grads, state, params, value=jnp.float32(2.0)))
    state = tx.init(params)
    plain, _ = jax.jit(optimizer(name).update)(grads, optimizer(name).init(params), params, value=jnp.float32(2.0))
    for scale in (2.0, 3.0):
        state.hyperparams["step_scale"] = jnp.float32(scale)
        got, _ = update(state)
        want = jax.tree.map(lambda step, leaf, scale=scale: scale * (step - 0.1 * leaf), plain, params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7), got, want)
    assert update._cache_size() == 1


@pytest.mark.parametrize("name", ["VeLO, elementwise", "Celo2"])
def test_accumulated_bfloat16_gradients(name):
    params = random_tree(SHAPES, 0, jnp.bfloat16)
    tx = optax.MultiSteps(optimizer(name), every_k_schedule=4)
    updates, _ = jax.jit(tx.update)(params, tx.init(params), params, value=jnp.float32(1.0))
    assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype(jnp.bfloat16)}
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(updates))


@pytest.mark.parametrize("weights", ["default", "light", "untrained"])
def test_made_within_a_traced_program(weights):
    """Its weights are constants: the optimizer can be used outside."""
    params, made = {"w": jnp.ones((2, 3))}, []

    @jax.jit
    def first():
        made.append(velo.optimizer(NUM_STEPS, weights))
        return made[0].init(params)

    state = first()
    jax.tree.map(np.testing.assert_array_equal, made[0].init(params), state)
    assert not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(made[0].init(params)))


def test_complex_parameters_are_refused():
    tx = optimizer("Celo2")
    with pytest.raises(ValueError, match=r"the parameter has dtype complex64.*its real and imaginary parts"):
        tx.init(jnp.ones(3, jnp.complex64))
    with pytest.raises(ValueError, match=r"parameter \['w'\] has dtype complex64"):
        tx.init({"w": jnp.ones(3, jnp.complex64)})
    params = jnp.ones(3)
    with pytest.raises(ValueError, match="the one at the root has dtype complex64"):
        tx.update(jnp.ones(3, jnp.complex64), tx.init(params), params, value=1.0)
