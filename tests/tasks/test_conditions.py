"""Wrappers that are conditions of `robustness`: what the optimizer sees of each, and when."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tasks import inner_loop
from tasks.families.quadratic import Quadratic
from tasks.families.teacher_regression import TeacherRegression
from tasks.wrappers.changing import ChangingBatch, ChangingData, SilentStart
from tasks.wrappers.heavy_tailed_gradient import HeavyTailedGradient
from tasks.wrappers.reparametrized import Reparametrized
from tasks.wrappers.rescaled_loss import RescaledLoss
from tasks.wrappers.uneven_gradient import UnevenGradient
from tasks.wrappers.zero_start import ZeroStart

BOWL = Quadratic(size=4)
LINEAR = TeacherRegression(input_size=3, output_size=2, teacher_width=4, widths=(), batch_size=4)


def seen(family, num_steps, rate=0.1):
    """(gradients [steps, entries], values and function values that an optimizer is told [steps, 2], losses [steps])."""

    def init(params):
        size = sum(leaf.size for leaf in jax.tree.leaves(params))
        return jnp.zeros((num_steps, size)), jnp.zeros((num_steps, 2)), jnp.zeros((), jnp.int32)

    def update(updates, state, params=None, *, value, obj_fn):
        grads, values, count = state
        flat = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(updates)])
        state = grads.at[count].set(flat), values.at[count].set(jnp.stack([value, obj_fn(params)])), count + 1
        return jax.tree.map(lambda grad: -rate * grad, updates), state

    tx = optax.GradientTransformationExtraArgs(init, update)

    @jax.jit
    def whole(key):
        draw = family.draw(key)
        start = inner_loop.start(family, tx, draw, key)
        state, losses = inner_loop.train(family, tx, draw, start, (), key, num_steps=num_steps)
        return state.opt_state[0], state.opt_state[1], losses

    return tuple(map(np.asarray, whole(jax.random.key(0))))


def test_a_rescaled_loss_is_seen_by_the_optimizer_alone():
    plain_grads, plain_values, plain_losses = seen(RescaledLoss(BOWL), 3, rate=0.0)
    grads, values, losses = seen(RescaledLoss(BOWL, factor=1e8, offset=-10.0), 3, rate=0.0)
    np.testing.assert_array_equal(losses, plain_losses)
    np.testing.assert_allclose(grads, 1e8 * plain_grads, rtol=1e-5)
    np.testing.assert_allclose(values, 1e8 * plain_values - 10.0, rtol=1e-5)
    np.testing.assert_array_equal(values[:, 0], values[:, 1])
    constant_grads, constant_values, _ = seen(RescaledLoss(BOWL, factor=0.0, offset=1.0), 3)
    assert not constant_grads.any()
    assert (constant_values == 1.0).all()


def test_gradients_are_silent_until_their_step():
    grads, values, losses = seen(SilentStart(BOWL, silent_steps=3), 5)
    np.testing.assert_array_equal(np.any(grads != 0, axis=1), [False, False, False, True, True])
    np.testing.assert_array_equal(values[:, 0], losses)
    assert (losses > 0).all()


def test_the_batch_changes_at_its_step():
    family = ChangingBatch(LINEAR, min_share=0.25, change_step=2)
    draw = jax.jit(family.draw)(jax.random.key(0))
    params = family.init(draw, jax.random.key(1))
    batch, key = family.batch((), jax.random.key(2)), jax.random.key(3)
    first = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:1], leaf.shape), batch)
    for step, expected in ((1, first), (2, batch)):
        loss = family.loss(family.draw_at(draw, jnp.int32(step)), params, batch, key)
        np.testing.assert_allclose(loss, LINEAR.loss(draw.inner, params, expected, key), rtol=1e-6)


def test_the_data_change_at_every_phase_and_the_parameters_go_on():
    family = ChangingData(LINEAR, num_phases=3, phase_steps=20)
    draw = jax.jit(family.draw)(jax.random.key(0))
    teachers = [np.asarray(family.draw_at(draw, jnp.int32(step)).inner.teacher["dense_0"]) for step in (0, 19, 20, 99)]
    np.testing.assert_array_equal(teachers[0], teachers[1])
    assert not np.allclose(teachers[1], teachers[2])
    assert not np.allclose(teachers[2], teachers[3])
    _, _, losses = seen(family, 60)
    assert losses[15:20].mean() < losses[:5].mean()
    assert losses[20:25].mean() > losses[15:20].mean()


def test_wrappers_pass_the_step_on():
    grads, *_ = seen(Reparametrized(SilentStart(BOWL, silent_steps=1), "global", 1.0), 2)
    np.testing.assert_array_equal(np.any(grads != 0, axis=1), [False, True])


def test_one_tensor_has_the_long_gradient():
    family = UnevenGradient(LINEAR, factor=1e6)
    draw = family.draw(jax.random.key(0))
    params = family.init(draw, jax.random.key(1))
    batch, key = family.batch((), jax.random.key(2)), jax.random.key(3)
    grads = jax.grad(family.loss, argnums=1)(draw, params, batch, key)
    plain = jax.grad(LINEAR.loss, argnums=1)(draw.inner, params, batch, key)
    np.testing.assert_allclose(grads["dense_0"]["b"], 1e6 * plain["dense_0"]["b"], rtol=1e-5)
    np.testing.assert_allclose(grads["dense_0"]["w"], plain["dense_0"]["w"], rtol=1e-5)


def test_heavy_tails_leave_the_median_and_have_more_outliers_than_a_normal_law():
    family = HeavyTailedGradient(BOWL)
    draw = family.draw(jax.random.key(0))._replace(strength=jnp.float32(1.0))
    params, batch = family.init(draw, jax.random.key(1)), family.batch((), jax.random.key(2))
    plain = np.asarray(jax.grad(BOWL.loss, argnums=1)(draw.inner, params, batch, jax.random.key(3))["x"])

    def noisy(key):
        return jax.grad(family.loss, argnums=1)(draw, params, batch, key)["x"]

    noise = np.asarray(jax.jit(jax.vmap(noisy))(jax.random.split(jax.random.key(3), 4000))) - plain
    noise = noise / np.sqrt(np.mean(plain**2))
    np.testing.assert_allclose(np.median(noise, axis=0), 0.0, atol=0.1)
    # Student's law with two degrees of freedom: P(|t| > 5) = 1 - 5 / sqrt(27), a normal law's is below 1e-6.
    np.testing.assert_allclose(np.mean(np.abs(noise) > 5), 1 - 5 / np.sqrt(27), rtol=0.2)


def test_parameters_start_at_zero_and_train():
    family = ZeroStart(LINEAR)
    draw = family.draw(jax.random.key(0))
    assert not any(leaf.any() for leaf in jax.tree.leaves(family.init(draw, jax.random.key(1))))
    _, _, losses = seen(family, 60)
    assert losses[-10:].mean() < losses[:10].mean()


def test_a_plain_family_is_the_same_at_every_step():
    draw = BOWL.draw(jax.random.key(0))
    assert BOWL.draw_at(draw, jnp.int32(7)) is draw


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SilentStart(BOWL, 0), "silent_steps must be at least 1, got 0"),
        (lambda: ChangingData(BOWL, num_phases=0), "num_phases must be at least 1, got 0"),
        (lambda: UnevenGradient(BOWL, 0.0), "factor must be positive, got 0.0"),
        (lambda: HeavyTailedGradient(BOWL, -1.0), "max_strength must be positive, got -1.0"),
    ],
)
def test_impossible_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
