from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from evaluation import runner
from evaluation.baselines import BASELINES
from evaluation.contender import Contender
from evaluation.runner import Lane
from tests.evaluation.runs import TASK, ScaledSGD

SIZES: Any = {"num_lanes": 2, "num_checkpoints": 3, "num_valid_batches": 2}
ADAM = Contender("adam", BASELINES["adam"])


def _lane(rate, seed):
    return Lane((("learning_rate", rate),), seed)


@pytest.fixture(scope="module")
def curves():
    return runner.run(TASK, ADAM, [_lane(0.01, 0), _lane(0.1, 1)], **SIZES)


def test_a_lane_equals_a_plain_loop(curves):
    family, (train, valid) = TASK.family, TASK.family.load()
    keys = [jax.random.fold_in(jax.random.key(1), index) for index in range(4)]
    draw = family.draw(keys[0])
    params = family.init(draw, keys[1])
    tx = optax.adam(0.1)
    state = tx.init(params)
    losses = []
    for step in range(TASK.num_steps):
        key_batch, key_loss = jax.random.split(jax.random.fold_in(keys[2], step))
        loss, grads = jax.value_and_grad(family.loss, argnums=1)(draw, params, family.batch(train, key_batch), key_loss)
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        losses.append(float(loss))
    np.testing.assert_allclose(curves[1].train_loss, losses, rtol=1e-4)
    valid_losses = []
    for key in jax.random.split(keys[3], 2):
        key_batch, key_loss = jax.random.split(key)
        valid_losses.append(float(family.loss(draw, params, family.batch(valid, key_batch), key_loss)))
    np.testing.assert_allclose(curves[1].valid_loss[-1], np.mean(valid_losses), rtol=1e-4)


def test_every_optimizer_starts_from_the_same_network_and_batch_under_a_seed(curves):
    optimizer = ScaledSGD()
    learned = Contender("learned", optimizer, optimizer.init(jax.random.key(0)))
    other = runner.run(TASK, learned, [Lane((), 0), Lane((), 1)], **SIZES)
    for ours, theirs in zip(curves, other, strict=True):
        np.testing.assert_allclose(ours.train_loss[0], theirs.train_loss[0], rtol=1e-6)
        assert ours.train_loss[-1] != theirs.train_loss[-1]
    assert curves[0].train_loss[0] != curves[1].train_loss[0]


def test_a_curve_does_not_depend_on_what_runs_beside_it(curves):
    (alone,) = runner.run(TASK, ADAM, [_lane(0.1, 1)], **SIZES)
    np.testing.assert_array_equal(alone.train_loss, curves[1].train_loss)
    np.testing.assert_array_equal(alone.valid_loss, curves[1].valid_loss)


def test_weights_share_a_compiled_program_and_new_ones_do_not_compile_again():
    optimizer = ScaledSGD()
    before = runner._compile.cache_info().misses
    for rate in (0.1, 0.2):
        theta = {"rate": jnp.float32(rate)}
        (curve,) = runner.run(TASK, Contender(f"sgd {rate}", optimizer, theta), [Lane((), 5)], **SIZES)
        if rate == 0.1:
            before, first = runner._compile.cache_info().misses, curve
    assert runner._compile.cache_info().misses == before
    assert curve.train_loss[-1] != first.train_loss[-1]


def test_a_diverged_run_is_kept_and_leaves_its_neighbour_alone(curves):
    infinite, fine = runner.run(TASK, ADAM, [_lane(float("nan"), 0), _lane(0.1, 1)], **SIZES)
    assert np.isnan(infinite.train_loss[1:]).all()
    np.testing.assert_array_equal(fine.train_loss, curves[1].train_loss)


def test_progress_adds_up_to_the_steps_of_the_lanes_that_were_asked_for():
    steps = []
    runner.run(TASK, ADAM, [_lane(0.1, 1)], on_steps=steps.append, **SIZES)
    assert sum(steps) == TASK.num_steps


@pytest.mark.parametrize(
    ("num_steps", "num_checkpoints", "sizes"), [(12, 3, [4, 4, 4]), (10, 3, [4, 4, 2]), (2, 10, [1, 1])]
)
def test_segments_cover_the_run_in_at_most_two_sizes(num_steps, num_checkpoints, sizes):
    assert runner.segments(num_steps, num_checkpoints) == sizes


def test_validation_is_taken_at_the_ends_of_the_segments(curves):
    np.testing.assert_array_equal(curves[0].valid_steps, [4, 8, 12])


def test_too_many_lanes_are_refused():
    with pytest.raises(ValueError, match=r"in \[1, 2\], got 3"):
        runner.run(TASK, ADAM, [_lane(0.1, seed) for seed in range(3)], **SIZES)
