"""Our architecture: what an untrained theta is, what it is blind to, and that what was learned is used."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.velo.registry import use_kernel
from velo import VeLO
from velo.architectures import pages as pages_module
from velo.architectures.pages import MAX_MEMBERSHIP, PAGE_SIZES, Layout
from velo.architectures.velo import features, kernel

NUM_STEPS = 60
SMALL = VeLO(lstm_size=4, num_mixtures=2)
ELEMENTWISE = VeLO(lstm_size=4, num_mixtures=2, basis="elementwise")
TARGET = np.linspace(-1, 1, 15, dtype=np.float32).reshape(5, 3)


def params():
    return {"w": jnp.zeros((5, 3)), "b": jnp.full(3, 0.3), "s": jnp.asarray(1.0)}


def loss_fn(params, scale=1.0):
    error = params["s"] * params["w"] + params["b"][None] - TARGET
    return scale * jnp.mean(jnp.square(error) * jnp.arange(1.0, 16.0).reshape(5, 3))


def train(tx, loss_fn=loss_fn, num_steps=NUM_STEPS):
    @jax.jit
    def run(params):
        def step(carry, _):
            params, state = carry
            loss, grads = jax.value_and_grad(loss_fn)(params)
            updates, state = tx.update(grads, state, params, value=loss)
            return (optax.apply_updates(params, updates), state), loss

        (final, _), losses = jax.lax.scan(step, (params, tx.init(params)), length=num_steps)
        return final, losses

    return run(params())


def trained_theta(architecture=SMALL):
    """A theta with noise on every leaf, so that all of its parts have an effect."""
    theta = architecture.init(jax.random.key(0))
    leaves, treedef = jax.tree.flatten(theta)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return treedef.unflatten(
        [leaf + 0.1 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    )


@pytest.mark.parametrize(
    ("decay", "schedule"),
    [
        ("linear", optax.linear_schedule(1.0, 0.0, NUM_STEPS)),
        ("cosine", optax.cosine_decay_schedule(1.0, NUM_STEPS)),
    ],
)
def test_an_untrained_elementwise_theta_is_prodigy_with_decay(decay, schedule):
    architecture = dataclasses.replace(ELEMENTWISE, decay=decay)
    reference = optax.contrib.prodigy(schedule, estim_lr0=architecture.initial_distance)
    final, losses = train(architecture.bind(architecture.init(jax.random.key(0)), NUM_STEPS))
    expected, expected_losses = train(optax.with_extra_args_support(reference))
    np.testing.assert_allclose(losses, expected_losses, rtol=2e-4, atol=1e-7)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), final, expected)


@pytest.mark.parametrize(
    "path",
    [
        "hypernetwork/log_step/b",
        "hypernetwork/controls/b",
        "hypernetwork/elementwise/b",
        "bank/w",
        "hypernetwork/lstm/w",
    ],
)
def test_every_part_of_theta_is_used(path):
    theta = trained_theta()
    _, losses = train(SMALL.bind(theta, NUM_STEPS))
    keys = path.split("/")
    changed = dict(theta, hypernetwork={name: dict(layer) if isinstance(layer, dict) else layer
                                        for name, layer in theta["hypernetwork"].items()})  # fmt: skip
    if keys[0] == "bank":
        changed["bank"] = [{**layer, "w": layer["w"] * 1.5} for layer in theta["bank"]]
    else:
        layer = changed["hypernetwork"][keys[1]]
        layer[keys[2]] = layer[keys[2]] + 0.3
    _, changed_losses = train(SMALL.bind(changed, NUM_STEPS))
    assert not np.allclose(losses[1:], changed_losses[1:], rtol=1e-4)


def test_the_lstm_remembers():
    """The reference throws the LSTM's state away; here a step depends on what was seen before."""
    tx = SMALL.bind(trained_theta(), NUM_STEPS)
    state = tx.init(params())
    grads = jax.grad(loss_fn)(params())
    _, state = tx.update(grads, state, params(), value=1.0)
    forgetful = state._replace(lstm=tx.init(params()).lstm)
    ours, _ = tx.update(grads, state, params(), value=1.0)
    theirs, _ = tx.update(grads, forgetful, params(), value=1.0)
    assert not np.allclose(ours["w"], theirs["w"], rtol=1e-6)


@pytest.mark.parametrize(("architecture", "tolerance"), [(ELEMENTWISE, 2e-3), (SMALL, 2e-2)])
def test_the_scale_of_the_loss_changes_nothing(architecture, tolerance):
    """In the eigenbasis, the epsilon under the root affects small coordinates sooner."""
    tx = architecture.bind(trained_theta(architecture), NUM_STEPS)
    num_steps = 25  # later the epsilon under Adam's root, which depends on the scale, has grown to more
    final, losses = train(tx, num_steps=num_steps)
    scaled_final, scaled_losses = train(tx, lambda params: loss_fn(params, 64.0), num_steps)
    np.testing.assert_allclose(scaled_losses, 64.0 * losses, rtol=tolerance, atol=1e-4)
    np.testing.assert_allclose(scaled_final["w"], final["w"], atol=tolerance)


@pytest.mark.parametrize("architecture", [SMALL, ELEMENTWISE], ids=["kronecker", "elementwise"])
@pytest.mark.parametrize("scale", [1e-12, 1e-8, 1e-5, 1e5, 1e12])
def test_a_loss_may_have_any_scale(architecture, scale):
    """It falls by the same share. Steps differ a little once the noise floor next to Adam's root is reached."""
    tx = architecture.bind(architecture.init(jax.random.key(0)), 40)
    shares = [train(tx, lambda params, s=s: loss_fn(params, s), 40)[1] for s in (1.0, scale)]
    first, second = (losses[-1] / losses[0] for losses in shares)
    assert first < 0.8
    np.testing.assert_allclose(second, first, rtol=0.02)


@pytest.mark.parametrize("architecture", [SMALL, ELEMENTWISE], ids=["kronecker", "elementwise"])
def test_what_never_had_a_gradient_stays_where_it_is(architecture):
    """Embedding rows that occur in no batch, and an unused bias, don't change by a bit under any theta."""
    tx = architecture.bind(trained_theta(architecture), 20)
    params = {"embedding": jax.random.normal(jax.random.key(2), (12, 5)), "bias": jnp.ones(7)}
    state, update = tx.init(params), jax.jit(tx.update)
    start = params
    for step in range(12):
        gradient = jax.random.normal(jax.random.key(step), (12, 5)) * (jnp.arange(12) % 3 == 0)[:, None]
        updates, state = update({"embedding": gradient, "bias": jnp.zeros(7)}, state, params, value=jnp.float32(1.0))
        params = optax.apply_updates(params, updates)
    moved = jnp.any(params["embedding"] != start["embedding"], axis=1)
    assert moved.tolist() == [row % 3 == 0 for row in range(12)]
    np.testing.assert_array_equal(params["bias"], start["bias"])


def test_broken_gradients_and_losses_leave_no_trace_in_the_state():
    tx = SMALL.bind(trained_theta(), NUM_STEPS)
    state = tx.init(params())
    grads = jax.grad(loss_fn)(params())
    broken = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), grads)
    _, state = tx.update(grads, state, params(), value=1.0)
    updates, state = tx.update(broken, state, params(), value=jnp.nan)
    huge = dict(grads, b=grads["b"].at[1].set(1e25))
    updates, state = tx.update(huge, state, params(), value=1.0)
    updates, state = tx.update(grads, state, params(), value=1.0)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves((updates, state)))
    assert float(jnp.abs(updates["w"]).max()) > 0


@pytest.mark.parametrize("in_kernel", [False, True])
def test_gradients_that_hardly_are_one_spoil_nothing(in_kernel, monkeypatch):
    """Their squares are near the smallest float; in one tensor the squares of the inverse roots add up to infinity."""
    if in_kernel:
        use_kernel(monkeypatch)
    else:
        monkeypatch.setenv(kernel.VARIABLE, "off")
    params = {"tiny": jnp.ones(400), "usual": jnp.ones(3)}
    tx = SMALL.bind(trained_theta(), NUM_STEPS)
    state = tx.init(params)
    grads = {"tiny": jnp.logspace(-15, -12, 400), "usual": jnp.ones(3)}
    for _ in range(3):
        updates, state = jax.jit(tx.update)(grads, state, params, value=1.0)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves((updates, state)))
    assert float(jnp.abs(updates["usual"]).min()) > 0


def test_a_tree_without_tensors_has_nothing_to_update():
    tx = SMALL.bind(trained_theta(), NUM_STEPS)
    updates, _ = tx.update({}, tx.init({}), {}, value=1.0)
    assert updates == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lstm_size", 0),
        ("num_mixtures", -1),
        ("nominal", -0.1),
        ("initial_distance", 0.0),
        ("final_rate", 1.5),
        ("basis", "fourier"),
        ("refresh_every", 0),
    ],
)
def test_bad_sizes_are_named(field, value):
    with pytest.raises(ValueError, match=f"{field} must be .* got {value!r}"):
        dataclasses.replace(SMALL, **{field: value})


def test_loss_features_tell_a_falling_loss_from_a_rising_one():
    def final_features(losses):
        history = features.init_loss_history()
        for loss in losses:
            history = features.update_loss_history(history, jnp.asarray(loss), 100)
        return np.asarray(features.loss_features(history))

    falling = final_features(np.linspace(2.0, 1.0, 50))
    assert np.all(falling > 0)
    np.testing.assert_allclose(final_features(np.linspace(1.0, 2.0, 50)), -falling, atol=1e-4)
    np.testing.assert_allclose(final_features(3.0 * np.linspace(2.0, 1.0, 50) - 5.0), falling, atol=1e-3)
    assert np.all(np.abs(final_features(np.ones(50))) < 1e-2)


def test_a_loss_rises_if_it_does_so_by_more_than_the_noise():
    def is_rising(losses):
        history = features.init_loss_history()
        for loss in losses:
            history = features.update_loss_history(history, jnp.asarray(loss), 100)
        return bool(features.is_rising(history))

    noise = np.random.default_rng(0).normal(size=60)
    assert not is_rising([1.0])
    assert not is_rising(np.ones(60))
    assert not is_rising(np.linspace(2.0, 1.0, 60))
    assert not is_rising(np.linspace(1.0, 1.3, 60) + noise)
    for scale, shift in ((1.0, 0.0), (1e-8, 0.0), (1e6, -3e6)):
        assert is_rising(scale * (np.linspace(1.0, 30.0, 60) + noise) + shift)


def test_a_non_finite_loss_is_forgotten():
    history = features.update_loss_history(features.init_loss_history(), jnp.asarray(1.0), 100)
    after = features.update_loss_history(history, jnp.asarray(jnp.inf), 100)
    jax.tree.map(np.testing.assert_array_equal, after, history)


@pytest.mark.parametrize("limit", [0, MAX_MEMBERSHIP])
def test_pages_hold_every_tensor_apart(monkeypatch, limit):
    width = PAGE_SIZES[-1]
    monkeypatch.setattr(pages_module, "MAX_MEMBERSHIP", limit)
    shapes = ((), (3,), (0,), (width,), (2, width), (5, 1, 27))
    layout = Layout(shapes)
    assert layout.page_size == width
    leaves = [jnp.arange(1.0, 1.0 + np.prod(shape)).reshape(shape) for shape in shapes]
    pages = layout.pack(leaves)
    for leaf, back in zip(leaves, layout.unpack(pages), strict=True):
        np.testing.assert_array_equal(leaf, back)
    np.testing.assert_allclose(layout.sum_by_tensor(jnp.sum(pages, axis=1)), [float(leaf.sum()) for leaf in leaves])
    np.testing.assert_array_equal(np.asarray(pages != 0), np.asarray(layout.occupied))
