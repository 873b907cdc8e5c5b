"""K-FAC against a slow reference and the exact Fisher matrix, and what it says of what it can't handle."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from evaluation import baselines
from evaluation.baselines.kfac import estimate, limited, scale_by_kfac
from evaluation.baselines.kronecker import relative_damping
from tasks import inner_loop
from tasks.families import layers
from tasks.families.conv_classifier import ConvClassifier
from tasks.families.mlp_classifier import MLPClassifier
from tests.evaluation.reference_kfac import SlowKfac

GOLDEN = Path(__file__).parents[1] / "golden"
NUM_STEPS, NUM_CLASSES = 7, 3
SETTINGS = {"decay": 0.8, "frequency": 3}
SHARE = 0.05
RNG = np.random.default_rng(0)
IMAGES = {"dense": RNG.normal(size=(NUM_STEPS, 6, 4)), "conv": RNG.normal(size=(NUM_STEPS, 4, 5, 4, 2))}
KERNELS = {"dense": (4, 5), "conv": (3, 3, 2, 4)}
STRIDES = {"dense": 1, "conv": 2}


def _params(kind):
    rng = np.random.default_rng(1)
    kernel = rng.normal(size=KERNELS[kind])
    return {
        "first": {"w": kernel, "b": rng.normal(size=kernel.shape[-1])},
        "last": {"w": rng.normal(size=(kernel.shape[-1], NUM_CLASSES)), "b": rng.normal(size=NUM_CLASSES)},
    }


def _outputs(kind, params, images, stride):
    if kind == "dense":
        x = jnp.tanh(layers.dense(params["first"], images))
    else:
        x = jnp.mean(jnp.tanh(layers.conv(params["first"], images, stride)), axis=(1, 2))
    return layers.dense(params["last"], x)


def _loss(kind, params, images, labels):
    return layers.cross_entropy(_outputs(kind, params, images, STRIDES[kind]), labels)


@pytest.mark.parametrize("form", ["conv_by_slices", "conv_by_xla"])
@pytest.mark.parametrize("kind", KERNELS)
def test_steps_equal_a_slow_reference(kind, form, monkeypatch):
    """Both step from the reference's parameters, so that rounding doesn't accumulate."""
    monkeypatch.setattr(layers, "conv_by_slices", getattr(layers, form))
    tx = scale_by_kfac(relative_damping(SHARE), **SETTINGS)
    slow = SlowKfac(share=SHARE, stride=STRIDES[kind], **SETTINGS)
    params = _params(kind)
    state = tx.init(jax.tree.map(jnp.float32, params))

    @jax.jit
    def update(params, state, images, labels):
        objective = lambda params: _loss(kind, params, images, labels)  # noqa: E731
        return tx.update(jax.grad(objective)(params), state, params, obj_fn=objective)

    for step, images in enumerate(IMAGES[kind]):
        labels = np.arange(len(images)) % NUM_CLASSES
        key = jax.random.fold_in(jax.random.key(0), step)
        uniform = np.asarray(jax.random.uniform(key, (len(images), NUM_CLASSES), minval=1e-7), np.float64)
        expected = slow.step(params, images, labels, uniform)
        found, state = update(jax.tree.map(jnp.float32, params), state, jnp.float32(images), labels)
        jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=2e-3, atol=2e-4), found, expected)
        params = jax.tree.map(lambda param, move: param - 0.1 * move, params, expected)


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_factors_of_equal_inputs_give_the_exact_fisher_matrix(loss):
    """With one input for all examples the expectation factorises, and the Fisher matrix is the Gauss-Newton matrix."""
    params = {"one": {"w": jnp.array([[0.5, -1.0, 0.2], [1.0, 0.3, -0.4]])}}
    x = jnp.tile(jnp.array([[1.0, -2.0]]), (512, 1))

    def objective(params):
        outputs = layers.dense(params["one"], x)
        if loss == "squared_error":
            return layers.squared_error(outputs, jnp.zeros_like(outputs))
        return layers.cross_entropy(outputs, jnp.zeros(len(x), int))

    factors = jax.vmap(lambda key: estimate(objective, params, key)["one"])(jax.random.split(jax.random.key(1), 40))
    found = np.kron(factors.inputs[0], np.mean(factors.outputs, axis=0))
    probabilities = np.asarray(jax.nn.softmax(x[0] @ params["one"]["w"]))
    curvature = 2.0 / 3.0 * np.eye(3)
    if loss == "cross_entropy":
        curvature = np.diag(probabilities) - np.outer(probabilities, probabilities)
    np.testing.assert_allclose(found, np.kron(np.outer(x[0], x[0]), curvature), atol=0.12)


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
@pytest.mark.parametrize("kind", KERNELS)
def test_factors_equal_those_of_kfac_jax(kind, loss):
    """kfac_jax computes the expectation over labels that ours samples; its squared error sums over three outputs."""
    with np.load(GOLDEN / "kfac_jax.npz") as recorded:
        params = {name: {leaf: recorded[f"{kind}/{name}/{leaf}"] for leaf in "wb"} for name in ("first", "last")}
        images, labels = jnp.asarray(recorded[f"{kind}/images"]), jnp.asarray(recorded["labels"])
        expected = {
            name: [recorded[f"{kind}/{name}/{loss}/{side}"] for side in ("inputs", "outputs")] for name in params
        }

    def objective(params):
        if loss == "cross_entropy":
            return layers.cross_entropy(_outputs(kind, params, images, stride=1), labels)
        return layers.squared_error(_outputs(kind, params, images, stride=1), jnp.zeros((len(images), NUM_CLASSES)))

    keys = jax.random.split(jax.random.key(1), 2000)
    found = jax.jit(jax.vmap(lambda key: estimate(objective, jax.tree.map(jnp.asarray, params), key)))(keys)
    for name, (inputs, outputs) in expected.items():
        np.testing.assert_allclose(found[name].inputs[0], inputs, rtol=1e-5, atol=1e-5)
        samples = np.asarray(found[name].outputs, np.float64) * (NUM_CLASSES if loss == "squared_error" else 1)
        error = np.std(samples, axis=0) / np.sqrt(len(keys))
        np.testing.assert_array_less(np.abs(np.mean(samples, axis=0) - outputs), 5.0 * error)


def test_tokens_count_as_terms_of_the_loss():
    """A sequence of two positions with a loss each has the factors of two examples."""
    params = {"one": {"w": jnp.array([[0.5, -1.0, 0.2], [1.0, 0.3, -0.4]])}}
    x, labels, key = jnp.sin(jnp.arange(12.0)), jnp.arange(6) % 3, jax.random.key(0)

    def factors(*shape):
        return estimate(
            lambda params: layers.cross_entropy(
                layers.dense(params["one"], x.reshape(*shape, 2)), labels.reshape(shape)
            ),
            params,
            key,
        )

    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-6), factors(6), factors(3, 2))


def test_long_steps_are_cut_to_length_one_and_short_ones_left():
    """The length is in the metric of the optimizer's own curvature, here 1 / .25."""
    tx = limited(optax.with_extra_args_support(optax.scale(0.25)))
    for grads, length in ((jnp.array([3.0, 4.0]), 1.0), (jnp.array([0.3, 0.4]), 0.25)):
        steps, _ = tx.update(grads, tx.init(grads))
        np.testing.assert_allclose(jnp.sqrt(jnp.sum(jnp.square(steps) / 0.25)), length, rtol=1e-6)


def test_a_layer_that_never_has_a_gradient_stands_still():
    family = MLPClassifier(dataset="breast_cancer", widths=(4,), batch_size=8)
    params = family.init(family.draw(jax.random.key(0)), jax.random.key(1))
    params["dense_0"]["b"] = jnp.full(4, -1e4)
    losses, params = _train(family, params, 3)
    assert np.isfinite(losses).all()
    assert np.isfinite(params["dense_1"]["w"]).all()
    np.testing.assert_array_equal(params["dense_0"]["b"], -1e4)


def _train(family, params, num_steps):
    tx = baselines.get("kfac").bind({}, num_steps)
    state = inner_loop.InnerState(params, tx.init(params), jnp.zeros((), jnp.int32))
    run = jax.jit(
        lambda state, data: inner_loop.train(
            family, tx, family.draw(jax.random.key(0)), state, data, jax.random.key(2), num_steps=num_steps
        )
    )
    state, losses = run(state, family.load()[0])
    return losses, state.params


def test_lanes_equal_single_runs_and_invert_when_due_alone():
    tx = scale_by_kfac(relative_damping(SHARE), **SETTINGS)
    params = jax.tree.map(jnp.float32, _params("dense"))
    lanes = jnp.float32(IMAGES["dense"][:2])

    def run(images):
        objective = lambda params: _loss("dense", params, images, jnp.arange(len(images)) % NUM_CLASSES)  # noqa: E731

        def one(state, _):
            steps, state = tx.update(jax.grad(objective)(params), state, params, obj_fn=objective)
            return state, steps

        return jax.lax.scan(one, tx.init(params), length=4)[1]

    assert " cond[" in str(jax.make_jaxpr(jax.vmap(run))(lanes))
    together = jax.jit(jax.vmap(run))(lanes)
    for index, images in enumerate(lanes):
        alone = jax.jit(run)(images)
        jax.tree.map(
            lambda one, other: np.testing.assert_allclose(one[index], other, rtol=1e-3, atol=1e-5),  # noqa: B023
            together,
            alone,
        )


LAYER = {"w": jnp.ones((2, 2)), "b": jnp.zeros(2)}
X = jnp.ones((4, 2))


def _in_a_loop(params):
    def step(x, _):
        return layers.dense(params["one"], x), None

    return layers.squared_error(jax.lax.scan(step, X, length=2)[0], X)


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (lambda params: layers.squared_error(X @ params["one"]["w"], X), "'one' must be applied once .* found 0"),
        (
            lambda params: layers.squared_error(layers.dense(params["one"], layers.dense(params["one"], X)), X),
            "'one' must be applied once .* found 2 times",
        ),
        (_in_a_loop, "'one' is applied inside of a loop"),
        (
            lambda params: layers.squared_error(jax.vmap(lambda x: layers.dense(params["one"], x))(X), X),
            "'one' is applied inside of .* jax.vmap",
        ),
        (lambda params: jnp.sum(layers.dense(params["one"], X)), "must take one loss, .* found 0"),
        (
            lambda params: 2 * layers.squared_error(layers.dense(params["one"], X), X) + layers.squared_error(X, X),
            "must take one loss, .* found 2",
        ),
    ],
)
def test_objectives_that_it_cannot_handle_are_told(objective, message):
    params = {"one": LAYER}
    tx = scale_by_kfac(relative_damping(SHARE))
    with pytest.raises(ValueError, match=message):
        jax.jit(lambda state: tx.update(params, state, params, obj_fn=objective))(tx.init(params))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"one": LAYER, "norm": {"scale": jnp.ones(2)}}, "parameter 'norm/scale' is no kernel"),
        ({"one": LAYER, "table": jnp.ones((5, 2))}, "parameter 'table' is no kernel"),
        ({"one": {"w": jnp.ones((2, 3, 4))}}, r"layer 'one' must have the shape .* got \(2, 3, 4\)"),
    ],
)
def test_parameters_that_it_cannot_handle_are_told(params, message):
    with pytest.raises(ValueError, match=message):
        scale_by_kfac(relative_damping(SHARE)).init(params)


def test_the_objective_is_needed():
    tx = scale_by_kfac(relative_damping(SHARE))
    with pytest.raises(ValueError, match="the objective of the step's batch as obj_fn"):
        tx.update({"one": LAYER}, tx.init({"one": LAYER}), {"one": LAYER}, value=1.0)


@pytest.mark.slow
@pytest.mark.parametrize("family", [MLPClassifier(widths=(64, 64)), ConvClassifier()])
def test_it_trains_better_than_adam_per_step(family):
    """Each at its best of three rates; .76 against .80 and 1.01 against 1.34 at the time of writing."""

    def last(name, rate):
        tx = baselines.get(name).bind({"learning_rate": rate}, 200)
        draw = family.draw(jax.random.key(0))
        state = inner_loop.start(family, tx, draw, jax.random.key(0))
        losses = inner_loop.train(family, tx, draw, state, family.load()[0], jax.random.key(0), num_steps=200)[1]
        return jnp.mean(losses[-20:])

    best = {
        name: min(float(jax.jit(last, static_argnums=0)(name, rate)) for rate in (0.003, 0.01, 0.03))
        for name in ("adam", "kfac")
    }
    assert best["kfac"] < best["adam"]
