"""What each wrapper does to weights, batches and gradients."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tasks import inner_loop
from tasks.augmentation import AUGMENTATIONS, Augmentation
from tasks.families.quadratic import Quadratic
from tasks.wrappers.delayed_gradient import DelayedGradient, delay
from tasks.wrappers.evolution_gradient import EvolutionGradient
from tasks.wrappers.linearly_normalized import LinearlyNormalized
from tasks.wrappers.normalized_gradient import NormalizedGradient
from tasks.wrappers.reduced_batch import ReducedBatch
from tasks.wrappers.reduced_precision import ReducedPrecision, round_mantissa
from tasks.wrappers.reparametrized import Reparametrized
from tasks.wrappers.spiked_gradient import SpikedGradient
from tasks.wrappers.subsampled_gradient import SubsampledGradient
from tasks.wrappers.wrapper import Wrapper
from tests.tasks.tiny_families import FAMILIES

STUDENT = FAMILIES["teacher_regression"]


@pytest.fixture
def task():
    """(draw, params, batch, key) of the student."""
    draw = jax.jit(STUDENT.draw)(jax.random.key(0))
    return draw, jax.jit(STUDENT.init)(draw, jax.random.key(1)), STUDENT.batch((), jax.random.key(2)), jax.random.key(3)


def gradient(family, draw, params, batch, key):
    loss, grads = jax.jit(jax.value_and_grad(family.loss, argnums=1))(draw, params, batch, key)
    return loss, jax.flatten_util.ravel_pytree(grads)[0]


@pytest.mark.parametrize("granularity", ["global", "tensor", "parameter"])
def test_reparametrized_weights_give_the_same_loss_and_scaled_gradients(granularity, task):
    inner, params, batch, key = task
    family = Reparametrized(STUDENT, granularity, 2.0)
    draw = family.draw(jax.random.key(4))._replace(inner=inner)
    numbers = family.init(draw, jax.random.key(1))
    loss, grad = gradient(family, draw, numbers, batch, key)
    plain_loss, plain_grad = gradient(STUDENT, inner, params, batch, key)
    full = jax.tree.map(lambda leaf, factor: jnp.broadcast_to(factor, leaf.shape), params, draw.strength)
    factors = jax.flatten_util.ravel_pytree(full)[0]
    np.testing.assert_allclose(loss, plain_loss, rtol=1e-5)
    np.testing.assert_allclose(grad, plain_grad * factors, rtol=1e-3, atol=1e-6)
    num_different = len(np.unique(np.asarray(factors)))
    assert (
        num_different == {"global": 1, "tensor": len(jax.tree.leaves(params)), "parameter": len(factors)}[granularity]
    )
    assert np.all((factors > 0.0099) & (factors < 101))


def test_reduced_batch_repeats_the_first_examples(task):
    inner, params, batch, key = task
    family = ReducedBatch(STUDENT)
    draw = family.draw(jax.random.key(4))._replace(inner=inner, strength=jnp.float32(0.01))
    first = jax.tree.map(lambda array: jnp.broadcast_to(array[:1], array.shape), batch)
    np.testing.assert_allclose(
        family.loss(draw, params, batch, key), STUDENT.loss(inner, params, first, key), rtol=1e-6
    )


def test_normalized_gradient_has_the_norm_that_its_power_leaves(task):
    inner, params, batch, key = task
    family = NormalizedGradient(STUDENT)
    draw = family.draw(jax.random.key(4))._replace(inner=inner, strength=jnp.float32(0.7))
    loss, grad = gradient(family, draw, params, batch, key)
    plain_loss, plain_grad = gradient(STUDENT, inner, params, batch, key)
    np.testing.assert_allclose(loss, plain_loss, rtol=1e-6)
    np.testing.assert_allclose(grad, plain_grad * jnp.linalg.norm(plain_grad) ** -0.7, rtol=1e-4, atol=1e-6)


def test_spiked_gradient_is_longer_at_its_share_of_steps(task):
    inner, params, batch, key = task
    family = SpikedGradient(STUDENT, share=0.25)
    draw = family.draw(jax.random.key(4))._replace(inner=inner, strength=jnp.float32(50.0))
    loss, grads = jax.vmap(lambda one: gradient(family, draw, params, batch, one))(jax.random.split(key, 400))
    plain_loss, plain_grad = gradient(STUDENT, inner, params, batch, key)
    np.testing.assert_allclose(loss, np.full(400, plain_loss), rtol=1e-6)
    ratios = np.linalg.norm(grads, axis=1) / np.linalg.norm(plain_grad)
    assert set(np.round(ratios, 3)) == {1.0, 50.0}
    np.testing.assert_allclose(np.mean(ratios > 2), 0.25, atol=0.07)


@pytest.mark.parametrize(
    "family", [EvolutionGradient(STUDENT, 512), SubsampledGradient(STUDENT, 512)], ids=lambda f: type(f).__name__
)
def test_estimated_gradients_are_unbiased(family, task):
    inner, params, batch, key = task
    strength = jnp.float32(1e-2 if isinstance(family, EvolutionGradient) else 512.0)
    draw = family.draw(jax.random.key(4))._replace(inner=inner, strength=strength)
    loss, grad = gradient(family, draw, params, batch, key)
    plain_loss, plain_grad = gradient(STUDENT, inner, params, batch, key)
    np.testing.assert_allclose(loss, plain_loss, rtol=1e-5)
    # The estimate of n entries from k directions has a relative error of about sqrt(n / k).
    error = jnp.linalg.norm(grad - plain_grad) / jnp.linalg.norm(plain_grad)
    assert error < 2.0 * np.sqrt(len(grad) / 512)


def test_delay_gives_the_gradient_of_some_steps_ago():
    tx = delay(jnp.int32(2), 3)
    state = tx.init(jnp.zeros(1))
    outputs = []
    for step in range(5):
        update, state = tx.update(jnp.array([1.0 + step]), state)
        outputs.append(np.asarray(update).item())
    assert outputs == [0.0, 0.0, 1.0, 2.0, 3.0]


def test_delayed_training_learns_and_passes_the_loss_on():
    family = DelayedGradient(Quadratic(size=4))
    draw = family.draw(jax.random.key(0))
    seen = []

    def update(updates, state, params=None, **extra_args):
        seen.append(extra_args["value"])
        return jax.tree.map(lambda grad: -0.1 * grad, updates), state

    tx = optax.GradientTransformationExtraArgs(lambda params: (), update)
    state = inner_loop.start(family, tx, draw, jax.random.key(1))
    _, losses = inner_loop.train(family, tx, draw, state, (), jax.random.key(2), num_steps=60)
    assert seen
    assert float(losses[-1]) < float(losses[0])
    assert 1 <= int(draw.strength) <= family.max_steps


def test_round_mantissa_matches_bfloat16():
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    expected = np.asarray(jnp.asarray(values).astype(jnp.bfloat16).astype(jnp.float32))
    np.testing.assert_array_equal(round_mantissa(jnp.asarray(values), jnp.float32(7.0)), expected)
    np.testing.assert_array_equal(round_mantissa(jnp.zeros(2), jnp.float32(7.0)), np.zeros(2))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Reparametrized(STUDENT, "row"), "granularity must be one of global, parameter, tensor, got 'row'"),
        (lambda: Reparametrized(STUDENT, "global", 0.0), r"decades must be in \(0, 6\], got 0.0"),
        (lambda: ReducedBatch(STUDENT, 0.0), r"min_share must be in \(0, 1\], got 0.0"),
        (lambda: EvolutionGradient(STUDENT, 2, 0.0), "need 0 < min_deviation <= max_deviation, got 0.0 and 0.1"),
        (lambda: EvolutionGradient(STUDENT, 0), "num_pairs must be at least 1, got 0"),
        (lambda: SubsampledGradient(STUDENT, 0), "max_directions must be at least 1, got 0"),
        (lambda: DelayedGradient(STUDENT, 0), "max_steps must be at least 1, got 0"),
        (lambda: ReducedPrecision(STUDENT, 5, 4), "got 5 and 4"),
        (lambda: Augmentation(reduced_batch=1.5), r"reduced_batch must be in \[0, 1\], got 1.5"),
        (lambda: Augmentation(reparametrize_global=0.6, reparametrize_tensor=0.6), "sum to at most 1"),
        (lambda: Augmentation(decades=()), "decades must be positive and not empty"),
    ],
)
def test_errors_name_the_value_and_its_range(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_linear_normalization_is_the_clipped_loss_in_units_of_a_guess():
    """With ten classes the bound is log 20, a loss of log 10 maps to 0, and VeLO's form differs only by a constant."""
    family = LinearlyNormalized(FAMILIES["mlp_classifier"])
    losses = np.array([0.0, 1.0, np.log(10.0), 2.9, 9.0, np.inf, np.nan], np.float32)
    values = np.array([family.normalize(jnp.asarray(loss)) for loss in losses])
    clipped = np.minimum(np.nan_to_num(losses, nan=np.inf), np.log(20.0))
    velo = (clipped - np.log(10 / 5)) * 10 / np.log(10)
    np.testing.assert_allclose(values, velo - 10 * np.log(5) / np.log(10), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(values[2], 0.0, atol=1e-5)


def test_published_strengths_reach_the_wrappers():
    rng = np.random.default_rng(0)
    found = set()
    for _ in range(2000):
        family = AUGMENTATIONS["velo_published"].apply(STUDENT, rng)
        while isinstance(family, Wrapper):
            if isinstance(family, EvolutionGradient):
                found.add(family.num_pairs)
            if isinstance(family, ReducedBatch):
                assert family.min_share == 0.01
            if isinstance(family, SubsampledGradient):
                assert family.max_directions == 64
            family = family.family
    assert found == {1, 2, 4, 8, 16}


def test_augmentation_wraps_as_often_as_it_says():
    rng = np.random.default_rng(0)
    counts: dict[str, int] = {}
    for _ in range(4000):
        family = AUGMENTATIONS["velo"].apply(STUDENT, rng)
        while isinstance(family, Wrapper):
            name = type(family).__name__ + getattr(family, "granularity", "")
            counts[name] = counts.get(name, 0) + 1
            family = family.family
    shares = {
        "Reparametrizedglobal": 2 / 7,
        "Reparametrizedtensor": 2 / 7,
        "Reparametrizedparameter": 1 / 7,
        "EvolutionGradient": 0.08,
        "ReducedBatch": 0.2,
        "ReducedPrecision": 0.2,
        "NormalizedGradient": 0.05,
        "SubsampledGradient": 0.08,
        "DelayedGradient": 0.05,
    }
    assert counts.keys() == shares.keys()
    for name, share in shares.items():
        np.testing.assert_allclose(counts[name] / 4000, share, atol=0.03)
