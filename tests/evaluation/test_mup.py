"""muP's tables, and what they are for: one step that changes networks of all widths alike."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from evaluation.baselines import mup
from evaluation.baselines.kfac import estimate, scale_by_kfac
from evaluation.baselines.kronecker import constant_damping, relative_damping
from evaluation.baselines.mup import Kind
from evaluation.baselines.plain_shampoo import scale_by_plain_shampoo
from tasks.families import layers

NUM_INPUTS, NUM_CLASSES, BASE = 16, 4, 32
RULES = {
    "sgd": (optax.identity(), mup.SGD),
    "adam": (optax.scale_by_adam(eps=1e-12), mup.ADAM),
    "kfac": (scale_by_kfac(relative_damping(0.1)), mup.KFAC),
    "shampoo": (scale_by_plain_shampoo(relative_damping(0.1)), mup.SHAMPOO),
}


def _shapes(width):
    return {
        "conv": {"w": np.ones((3, 3, 2, width)), "b": np.ones(width)},
        "norm": {"scale": np.ones(width)},
        "hidden": {"w": np.ones((width, 2 * width)), "b": np.ones(2 * width)},
        "deep_conv": {"w": np.ones((3, 3, 2 * width, 2 * width))},
        "output": {"w": np.ones((2 * width, 10)), "b": np.ones(10)},
        "temperature": np.ones(()),
    }


def test_layers_are_told_by_the_axes_that_grow():
    found = mup.kinds(_shapes(64), jax.eval_shape(lambda: _shapes(16)))
    expected = {
        "conv": {"w": Kind.INPUT, "b": Kind.VECTOR},
        "norm": {"scale": Kind.VECTOR},
        "hidden": {"w": Kind.HIDDEN, "b": Kind.VECTOR},
        "deep_conv": {"w": Kind.HIDDEN},
        "output": {"w": Kind.OUTPUT, "b": Kind.FIXED},
        "temperature": Kind.FIXED,
    }
    is_pair = lambda node: isinstance(node, tuple)  # noqa: E731
    assert jax.tree.map(lambda pair: pair[0], found, is_leaf=is_pair) == expected
    assert {pair[1] for pair in jax.tree.leaves(found, is_leaf=is_pair)} == {1.0, 4.0}


@pytest.mark.parametrize(
    ("rates", "factors"),
    [
        # 2312.12226, table 1, at four times the width: input, hidden, output.
        (mup.SGD, (4.0, 1.0, 1 / 4)),
        (mup.ADAM, (1.0, 1 / 4, 1 / 4)),
        (mup.KFAC, (1.0, 1.0, 1.0)),
        (mup.SHAMPOO, (2.0, 1.0, 1 / 2)),
        (mup.SOAP, (2.0, 1.0, 1 / 2)),
    ],
)
def test_rates_follow_the_table(rates, factors):
    tx = optax.chain(optax.sgd(1.0), mup.scale_by_layer(rates, _shapes(16)))
    grads = jax.tree.map(jnp.float32, _shapes(64))
    updates, _ = tx.update(grads, tx.init(grads))
    found = [-updates[name]["w"].ravel()[0] for name in ("conv", "hidden", "output")]
    np.testing.assert_allclose(found, factors)
    np.testing.assert_allclose([-updates["output"]["b"][0], -updates["temperature"]], 1.0)
    narrow = jax.tree.map(jnp.float32, _shapes(16))
    same, _ = tx.update(narrow, tx.init(narrow))
    assert all(np.all(leaf == -1.0) for leaf in jax.tree.leaves(same))


@pytest.mark.parametrize(("rates", "factor"), [(mup.SHAMPOO, 2.0), (mup.SOAP, 1.0)])
def test_vectors_have_the_input_layers_rate_unless_told_otherwise(rates, factor):
    tx = mup.scale_by_layer(rates, _shapes(16))
    grads = jax.tree.map(jnp.float32, _shapes(64))
    updates, _ = tx.update(grads, tx.init(grads))
    for vector in (updates["conv"]["b"], updates["norm"]["scale"], updates["hidden"]["b"]):
        np.testing.assert_allclose(vector, factor)


def test_only_read_outs_start_smaller():
    found = mup.initialize(jax.tree.map(jnp.float32, _shapes(64)), _shapes(16))
    np.testing.assert_allclose(found.pop("output")["w"], 0.5)
    assert all(np.all(leaf == 1.0) for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize(
    ("params", "base", "message"),
    [
        ({"a": np.ones((8, 24))}, {"a": np.ones((4, 8))}, "inputs and outputs of 'a' must grow alike"),
        ({"a": np.ones((5, 8, 8))}, {"a": np.ones((3, 4, 4))}, "'a' of shape .* is no wider form"),
        ({"a": np.ones(4)}, {"a": np.ones((4, 4))}, "'a' of shape .* is no wider form"),
        ({"a": np.ones(4)}, {"b": np.ones(4)}, "trees of the same structure"),
    ],
)
def test_trees_that_do_not_belong_together_are_told(params, base, message):
    with pytest.raises(ValueError, match=message):
        mup.kinds(params, base)


def _network(width, key=0):
    sizes = [NUM_INPUTS, width, width, NUM_CLASSES]
    shapes = layers.stack("dense", sizes)
    params = layers.init_layers(jax.random.key(key), shapes, "lecun_normal")
    return {name: {"w": layer["w"]} for name, layer in params.items()}


X = jnp.float32(np.random.default_rng(0).normal(size=(24, NUM_INPUTS)))
LABELS = jnp.arange(24) % NUM_CLASSES


def _features(params):
    first = jnp.tanh(layers.dense(params["dense_0"], X))
    second = jnp.tanh(layers.dense(params["dense_1"], first))
    return first, second, layers.dense(params["dense_2"], second)


def _objective(params):
    return layers.cross_entropy(_features(params)[-1], LABELS)


def _changes(tx, rates, width):
    """Root mean square of each layer's change by one step in muP, to first order in the step."""
    params, base = mup.initialize(_network(width), _network(BASE)), _network(BASE)
    tx = optax.chain(optax.with_extra_args_support(tx), mup.scale_by_layer(rates, base))
    steps, _ = tx.update(jax.grad(_objective)(params), tx.init(params), params, obj_fn=_objective)
    _, tangents = jax.jvp(_features, (params,), (steps,))
    return np.array([np.sqrt(np.mean(np.square(tangent))) for tangent in tangents])


@pytest.mark.parametrize("rule", RULES)
def test_one_step_changes_features_of_all_widths_alike(rule):
    """Up to the fluctuation of random networks. Without muP's rates the changes differ by powers of 16."""
    tx, rates = RULES[rule]
    narrow, wide = _changes(tx, rates, BASE), _changes(tx, rates, 16 * BASE)
    np.testing.assert_allclose(wide / narrow, 1.0, atol=0.4)
    if rule != "kfac":
        plain = _changes(tx, mup.KFAC, 16 * BASE) / _changes(tx, mup.KFAC, BASE)
        assert np.max(np.abs(np.log(plain))) > np.log(3.0)


def test_kfac_with_constant_damping_stops_to_learn_features():
    """2312.12226: damping that doesn't follow the width makes the feature change vanish."""
    tx = scale_by_kfac(constant_damping(0.1))
    change = _changes(tx, mup.KFAC, 16 * BASE)[:2] / _changes(tx, mup.KFAC, BASE)[:2]
    assert np.all(change < 1 / 3)


def test_relative_damping_grows_as_the_table_says():
    """2312.12226, table of damping: rho_A ~ (1, M, M), rho_B ~ (1/M, 1/M, 1) for input, hidden, output."""

    def traces(width):
        params = mup.initialize(_network(width), _network(BASE))
        factors = estimate(_objective, params, jax.random.key(0))
        return np.array([[jnp.trace(side) for side in factors[f"dense_{index}"]] for index in range(3)])

    found = np.log(traces(16 * BASE) / traces(BASE)) / np.log(16)
    np.testing.assert_allclose(found, [[0, -1], [1, -1], [1, 0]], atol=0.12)
