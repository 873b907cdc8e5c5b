"""`velo.optimizer`: what its options do to an update, and what it says when it is used wrongly."""

import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import velo
from tests.velo.probe import Probe
from tests.velo.registry import double_precision
from velo import transformation

ARCHITECTURE = velo.VeLO(lstm_size=4, num_mixtures=2)


PARAMS = {"w": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4), "b": np.full(4, 0.5, np.float32)}
GRADS = jax.tree.map(lambda leaf: np.sin(7 * leaf).astype(np.float32), PARAMS)


@pytest.fixture(scope="module")
def weights():
    return Probe(), Probe().init(jax.random.key(0))


@pytest.fixture(scope="module")
def plain(weights):
    """Updates of three steps without any option."""
    return run(velo.optimizer(10, weights), 3)


def run(tx, num_updates, params=PARAMS, grads=GRADS):
    state = tx.init(params)
    step = jax.jit(lambda grads, state, params: tx.update(grads, state, params, value=1.5))
    updates = []
    for _ in range(num_updates):
        update, state = step(grads, state, params)
        updates.append(update)
    return updates


def assert_close(got, want):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-12), got, want)


def test_is_the_bound_architecture(weights, plain):
    architecture, theta = weights
    assert_close(plain, run(architecture.bind(theta, 10), 3))


def test_weight_decay_is_decoupled_and_scaled(weights, plain):
    got = run(velo.optimizer(10, weights, weight_decay=0.1, step_scale=0.5), 3)
    assert_close(got, [jax.tree.map(lambda u, p: 0.5 * (u - 0.1 * p), update, PARAMS) for update in plain])


@pytest.mark.parametrize("mask", [{"w": True, "b": False}, lambda params: jax.tree.map(lambda x: x.ndim > 1, params)])
def test_weight_decay_mask(weights, plain, mask):
    (got,) = run(velo.optimizer(10, weights, weight_decay=0.1, weight_decay_mask=mask), 1)
    assert_close(got["b"], plain[0]["b"])
    assert_close(got["w"], plain[0]["w"] - 0.1 * PARAMS["w"])


def test_weight_decay_mask_may_be_a_prefix(weights):
    nested = {"l1": PARAMS, "l2": {"deep": PARAMS}}
    grads = {"l1": GRADS, "l2": {"deep": GRADS}}
    (bare,) = run(velo.optimizer(10, weights), 1, nested, grads)
    (got,) = run(
        velo.optimizer(10, weights, weight_decay=0.1, weight_decay_mask={"l1": True, "l2": False}), 1, nested, grads
    )
    assert_close(got["l2"], bare["l2"])
    assert_close(got["l1"], jax.tree.map(lambda step, leaf: step - 0.1 * leaf, bare["l1"], PARAMS))


def test_weight_decay_schedule_counts_from_zero(weights, plain):
    got = run(velo.optimizer(10, weights, weight_decay=lambda count: 0.1 * (1.0 + count)), 3)
    want = [
        jax.tree.map(lambda step, leaf, n=n: step - 0.1 * (1 + n) * leaf, update, PARAMS)
        for n, update in enumerate(plain)
    ]
    assert_close(got, want)


def test_the_distance_starts_and_stops_where_it_is_told():
    params = jax.tree.map(jnp.asarray, PARAMS)
    architecture = velo.VeLO(lstm_size=4, num_mixtures=2, basis="elementwise")
    weights = (architecture, architecture.init(jax.random.key(0)))

    def estimates(**options):
        tx = velo.optimizer(40, weights, **options)
        state, moved, seen = tx.init(params), params, []
        update = jax.jit(tx.update)
        for _ in range(20):
            updates, state = update(moved, state, moved, value=1.0)  # of half the square
            moved = optax.apply_updates(moved, updates)
            seen.append(float(state.learned.distance.estimate))
        return seen

    free = estimates(initial_distance=1e-3)
    assert free[0] == np.float32(1e-3) and free[-1] > 0.02
    assert max(estimates(initial_distance=1e-3, max_distance=0.02)) == np.float32(0.02)


def test_step_scale_schedule_counts_from_zero(weights, plain):
    got = run(velo.optimizer(10, weights, step_scale=lambda count: 1.0 / (1.0 + count)), 3)
    assert_close(got, [jax.tree.map(lambda u, n=n: u / (1 + n), update) for n, update in enumerate(plain)])


def test_step_scale_may_be_injected(weights, plain):
    tx = optax.inject_hyperparams(velo.optimizer, static_args=("num_steps", "weights"))(
        num_steps=10, weights=weights, step_scale=2.0
    )
    state = tx.init(PARAMS)
    state.hyperparams["step_scale"] = jnp.float32(3.0)
    got, _ = jax.jit(lambda state: tx.update(GRADS, state, PARAMS, value=1.5))(state)
    assert_close(got, jax.tree.map(lambda u: 3 * u, plain[0]))


def test_bfloat16_parameters_have_float32_state(weights):
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), PARAMS)
    tx = velo.optimizer(10, weights, weight_decay=0.1, step_scale=2.0)
    state = tx.init(params)
    updates, state = tx.update(GRADS, state, params, value=jnp.bfloat16(1.0))
    assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype(jnp.bfloat16)}
    floating = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    assert {leaf.dtype for leaf in floating} == {jnp.dtype(jnp.float32)}


def test_frozen_parts_do_not_move(weights):
    masked = optax.partition(
        {"train": velo.optimizer(10, weights), "freeze": optax.set_to_zero()}, {"w": "train", "b": "freeze"}
    )
    (got,) = run(masked, 1)
    np.testing.assert_array_equal(got["b"], 0.0)
    (alone,) = run(velo.optimizer(10, weights), 1, {"w": PARAMS["w"]}, {"w": GRADS["w"]})
    assert_close(got["w"], alone["w"])


def test_beyond_the_horizon_gradients_and_losses_are_averaged(weights):
    tx = velo.optimizer(10, weights, horizon=4, weight_decay=0.1)  # ceil(10 / 4) = 3 gradients an update
    alone = velo.optimizer(4, weights, weight_decay=0.1)
    state, state_alone = tx.init(PARAMS), alone.init(PARAMS)
    step = jax.jit(lambda grads, state, loss: tx.update(grads, state, PARAMS, value=loss))
    for repeat in range(2):
        for scale, loss in [(1.0, 3.0), (2.0, 1.0), (6.0, 2.0)]:
            updates, state = step(jax.tree.map(lambda g, s=scale: s * g, GRADS), state, loss + repeat)
            if scale != 6.0:
                assert not any(np.any(leaf) for leaf in jax.tree.leaves(updates))
        averaged = jax.tree.map(lambda g: 3.0 * g, GRADS)
        expected, state_alone = alone.update(averaged, state_alone, PARAMS, value=2.0 + repeat)
        assert_close(updates, expected)


def test_averages_keep_their_dtypes_in_double_precision(weights):
    with double_precision():
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), PARAMS)
        tx = velo.optimizer(10, weights, horizon=4)
        state = tx.init(params)
        step = jax.jit(lambda state: tx.update(params, state, params, value=jnp.float64(1.0)))
        for _ in range(4):
            updates, state = step(state)
        assert step._cache_size() == 1
        assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype(jnp.float64)}


def test_velo_stands_still_after_the_run(velo_weights):
    updates = run(velo.optimizer(2, velo_weights), 5)
    assert max(np.max(np.abs(leaf)) for leaf in jax.tree.leaves(updates[:2])) > 0.0
    assert max(np.max(np.abs(leaf)) for leaf in jax.tree.leaves(updates[2:])) == 0.0


@pytest.mark.parametrize("num_steps", [0, -3, 1.5, "10", None, True, np.float32(3)])
def test_num_steps_has_to_be_a_positive_integer(num_steps):
    with pytest.raises(ValueError, match="num_steps has to be"):
        transformation.check_count("num_steps", num_steps)


@pytest.mark.parametrize(
    "options", [{"weight_decay": -1.0}, {"step_scale": float("nan")}, {"step_scale": -0.1}, {"horizon": 0}]
)
def test_options_out_of_range(weights, options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} has to be"):
        velo.optimizer(10, weights, **options)


def test_numpy_integers_are_integers(weights):
    velo.optimizer(np.int64(10), weights)


def assert_same_start(tx, other):
    """Of VeLO's initial states, which hold the theta of its LSTM."""
    jax.tree.map(np.testing.assert_array_equal, tx.init(PARAMS), other.init(PARAMS))


@pytest.fixture(scope="module")
def velo_weights():
    theta = jax.tree.map(lambda leaf: leaf + 1.0, ARCHITECTURE.init(jax.random.key(0)))
    return ARCHITECTURE, theta


def test_weights_from_a_file(velo_weights, tmp_path):
    velo.save_weights(tmp_path / "a.velo", *velo_weights)
    expected = velo.optimizer(10, velo_weights)
    assert_same_start(velo.optimizer(10, tmp_path / "a.velo"), expected)
    assert_same_start(velo.optimizer(10, str(tmp_path / "a.velo")), expected)
    with pytest.raises(FileNotFoundError):
        velo.optimizer(10, tmp_path / "b.velo")


def test_default_weights_come_with_the_package():
    started = time.process_time()
    weights = velo.load_weights(velo.DEFAULT_WEIGHTS)
    assert time.process_time() - started < 1.0
    assert_same_start(velo.optimizer(10), velo.optimizer(10, weights))
    info = velo.weights_info(velo.DEFAULT_WEIGHTS)
    assert (info.architecture, info.licence) == ("VeLO", "Apache-2.0")
    card = (Path(__file__).parents[2] / "docs" / "model_card.md").read_text()
    assert info.digest in card


def test_weights_of_another_kind(weights):
    with pytest.raises(ValueError, match=r"\(architecture, theta\)"):
        transformation.resolve_weights(weights[::-1])


def test_missing_arguments_are_named(weights):
    tx = velo.optimizer(10, weights)
    state = tx.init(PARAMS)
    with pytest.raises(ValueError, match="value=loss"):
        tx.update(GRADS, state, PARAMS)
    with pytest.raises(ValueError, match="reads the parameters"):
        tx.update(GRADS, state, value=1.0)
    with pytest.raises(ValueError, match="value=loss"):
        velo.optimizer(10, weights, horizon=2).update(GRADS, None, PARAMS)


def test_integer_parameters_are_named(weights):
    with pytest.raises(ValueError, match=r"\['layer'\]\['table'\] has dtype int32"):
        velo.optimizer(10, weights).init({"layer": {"table": np.arange(3, dtype=np.int32)}})
