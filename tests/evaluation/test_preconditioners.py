"""SOAP and Shampoo against slow references, and what has to hold for all work on matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from evaluation import baselines
from evaluation.baselines import kronecker
from evaluation.baselines.averaging import schedule_free_average
from evaluation.baselines.shampoo import scale_by_shampoo, shampoo
from evaluation.baselines.soap import scale_by_soap, soap
from tests.evaluation.reference_preconditioners import SlowShampoo, SlowSoap

SHAPES = {"kernel": (2, 2, 4), "matrix": (4, 4), "scalar": (), "tall": (6, 3), "vector": (3,)}
"""Sides up to `max_side` = 4 get a factor, so "tall" is rotated on one side only."""
NUM_STEPS = 17
SOAP = {"b1": 0.9, "b2": 0.97, "shampoo_beta": 0.8, "eps": 1e-8, "precondition_frequency": 5, "max_side": 4}
SHAMPOO = {"b1": 0.9, "b2": 0.97, "eps": 1e-8, "precondition_frequency": 5, "max_side": 4}
METHODS = {"soap": (scale_by_soap, SlowSoap, SOAP), "shampoo": (scale_by_shampoo, SlowShampoo, SHAMPOO)}


def _gradients(name):
    """[NUM_STEPS, ...] with singular values well apart, so that the bases are well determined in float32."""
    rng = np.random.default_rng(list(SHAPES).index(name))
    folded = kronecker.fold(SHAPES[name])
    grads = rng.normal(size=(NUM_STEPS, *folded))
    if len(folded) == 2:
        grads = 0.3 * grads + np.diag(np.arange(1.0, 1 + max(folded)))[: folded[0], : folded[1]] * grads[:, :1, :1]
    return grads.reshape(NUM_STEPS, *SHAPES[name])


GRADIENTS = {name: _gradients(name) for name in SHAPES}
ZEROS = {name: jnp.zeros(shape) for name, shape in SHAPES.items()}


def _steps(tx, gradients=GRADIENTS, params=ZEROS):
    """The updates of `tx` for all gradients, {name: [NUM_STEPS, ...]}, in one scan."""

    @jax.jit
    def run(gradients):
        def one(state, grads):
            updates, state = tx.update(grads, state, params)
            return state, updates

        return jax.lax.scan(one, tx.init(params), gradients)[1]

    return run(jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), gradients))


@pytest.mark.parametrize("method", METHODS)
def test_steps_equal_a_slow_reference(method):
    transformation, slow, settings = METHODS[method]
    found = _steps(transformation(**settings))
    for name, grads in GRADIENTS.items():
        folded = kronecker.fold(SHAPES[name])
        reference = slow(folded, **settings)
        expected = np.array([reference.step(grad.reshape(folded)).reshape(SHAPES[name]) for grad in grads])
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=3e-5, err_msg=name)


def test_soap_makes_no_step_at_first_and_is_adam_for_vectors_from_then_on():
    found = _steps(scale_by_soap(b1=0.9, b2=0.99))
    adam = optax.scale_by_adam(b1=0.9, b2=0.99)
    later = _steps(adam, {name: grads[1:] for name, grads in GRADIENTS.items()})
    for name, steps in found.items():
        assert not np.any(steps[0])
        same = np.allclose(steps[1:], later[name], rtol=1e-4, atol=1e-5)
        assert same == (len(SHAPES[name]) < 2), name


@pytest.mark.parametrize("method", METHODS)
def test_a_rotation_of_the_gradients_rotates_the_steps(method):
    """Adam's step depends on the axes, one in the eigenbasis doesn't; grafting changes the length of Shampoo's."""
    transformation, _, settings = METHODS[method]
    rng = np.random.default_rng(1)
    left, right = (np.linalg.qr(rng.normal(size=(4, 4)))[0] for _ in range(2))
    matrices = GRADIENTS["matrix"]
    tx = transformation(**settings)
    start = {"matrix": ZEROS["matrix"]}
    found = np.asarray(_steps(tx, {"matrix": left @ matrices @ right}, start)["matrix"])
    expected = left @ np.asarray(_steps(tx, {"matrix": matrices}, start)["matrix"]) @ right
    from_step = 1 if method == "soap" else settings["precondition_frequency"] - 1
    for one, other in zip(found[from_step:], expected[from_step:], strict=True):
        np.testing.assert_allclose(one / np.linalg.norm(one), other / np.linalg.norm(other), atol=2e-3)
        if method == "soap":
            np.testing.assert_allclose(one, other, rtol=2e-3, atol=2e-3)


def test_shampoo_has_the_length_of_adams_steps():
    found = _steps(scale_by_shampoo(b1=0.9, b2=0.97, precondition_frequency=4))
    adam = _steps(optax.scale_by_adam(b1=0.9, b2=0.97))
    for name, steps in found.items():
        axes = tuple(range(1, 1 + len(SHAPES[name])))
        length, other = (np.sqrt(np.sum(np.square(value), axis=axes)) for value in (steps, adam[name]))
        np.testing.assert_allclose(length, other, rtol=1e-4)
        np.testing.assert_allclose(steps[:3], adam[name][:3], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["zero", "zero_at_first", "rank_one", "huge_and_tiny"])
@pytest.mark.parametrize("method", METHODS)
def test_steps_are_finite(method, kind):
    rng = np.random.default_rng(2)
    shapes = {"row": (1, 5), "column": (5, 1), "one": (1, 1), "wide": (3, 6), "vector": (4,), "scalar": ()}
    grads = {name: rng.normal(size=(12, *shape)) for name, shape in shapes.items()}
    if kind.startswith("zero"):
        grads = {
            name: np.where(np.arange(12) < (12 if kind == "zero" else 7), 0.0, leaf.T).T for name, leaf in grads.items()
        }
    elif kind == "rank_one":
        grads["wide"] = np.broadcast_to(np.outer([1.0, 0.0, 2.0], rng.normal(size=6)), (12, 3, 6))
    else:
        grads = {name: (leaf.T * np.where(np.arange(12) % 2, 1e8, 1e-12)).T for name, leaf in grads.items()}
    params = {name: jnp.zeros(shape) for name, shape in shapes.items()}
    steps = _steps(METHODS[method][0](precondition_frequency=3), grads, params)
    for name, leaf in steps.items():
        assert np.isfinite(leaf).all(), name
        assert np.abs(leaf).max() < 100.0, name
        if kind == "zero":
            assert not np.any(leaf), name


@pytest.mark.parametrize("method", METHODS)
def test_lanes_equal_single_runs_and_keep_the_branch(method):
    """jit, scan and vmap agree with a loop of eager updates; lanes that start together share the counter."""
    transformation, _, settings = METHODS[method]
    tx = transformation(**settings)
    params = {"matrix": ZEROS["matrix"], "vector": ZEROS["vector"]}
    lanes = [{name: scale * GRADIENTS[name].astype(np.float32) for name in params} for scale in (1.0, -0.5)]

    def run(gradients):
        def one(state, grads):
            updates, state = tx.update(grads, state, params)
            return state, updates

        return jax.lax.scan(one, tx.init(params), gradients)[1]

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *lanes)
    assert " cond[" in str(jax.make_jaxpr(jax.vmap(run))(stacked))
    together = jax.jit(jax.vmap(run))(stacked)
    for index, gradients in enumerate(lanes):
        state = tx.init(params)
        for step in range(7):
            updates, state = tx.update({name: jnp.asarray(leaf[step]) for name, leaf in gradients.items()}, state)
            for name in params:
                np.testing.assert_allclose(together[name][index, step], updates[name], rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("method", [soap, shampoo])
def test_updates_compile_once_keep_types_and_take_schedules(method):
    params = {"matrix": jnp.ones((3, 4), jnp.bfloat16), "vector": jnp.ones(4), "frozen": jnp.ones((2, 2))}
    mask = {"matrix": True, "vector": True, "frozen": False}
    scheduled, constant = (
        optax.masked(method(rate, precondition_frequency=2), mask) for rate in (lambda count: 0.1 / (1 + count), 0.025)
    )
    ends = []
    for tx in (scheduled, constant):
        update = jax.jit(tx.update)
        state = tx.init(params)
        for _ in range(4):
            updates, new_state = update(params, state, params)
            assert jax.tree.map(jax.typeof, new_state) == jax.tree.map(jax.typeof, state)
            assert jax.tree.map(jax.typeof, updates) == jax.tree.map(jax.typeof, params)
            state = new_state
        assert update._cache_size() == 1
        ends.append(updates)
    np.testing.assert_allclose(ends[0]["vector"], ends[1]["vector"], rtol=1e-5)


def test_schedule_free_soap_averages_soaps_iterates():
    """z takes SOAP's steps without momentum, x averages z, gradients are taken between both."""
    settings = {
        "b1": 0.0,
        "b2": 0.95,
        "shampoo_beta": 0.95,
        "eps": 1e-8,
        "precondition_frequency": 10,
        "max_side": 1024,
    }
    grads = GRADIENTS["matrix"]
    slow = SlowSoap((4, 4), **settings)
    rate, num_steps = 0.1, 70  # rates .1/7, .2/7, ..., .1
    z, x, y, weights, expected = np.ones((4, 4)), np.ones((4, 4)), np.ones((4, 4)), 0.0, []
    for step, grad in enumerate(grads):
        # optax counts steps from 0 for the base optimizer's rate, and from 1 for the averaging weights.
        now, weight = (rate * min((count + 1) / 7, 1.0) for count in (step, step + 1))
        z = z - now * (slow.step(grad) + 0.01 * y)
        weights += weight**2
        x = x + weight**2 / weights * (z - x)
        y = 0.1 * z + 0.9 * x
        expected.append(y)
    tx = baselines.get("schedule_free_soap").bind({"learning_rate": rate, "weight_decay": 0.01}, num_steps)
    params = jnp.ones((4, 4))
    state = tx.init(params)
    update = jax.jit(tx.update)
    for grad, wanted in zip(grads, expected, strict=True):
        updates, state = update(jnp.asarray(grad, jnp.float32), state, params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(params, wanted, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(schedule_free_average(state, params), x, rtol=1e-3, atol=2e-3)
