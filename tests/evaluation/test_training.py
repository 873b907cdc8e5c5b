from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.evaluation_names import parse_contender
from evaluation import training
from evaluation.baselines import BASELINES
from evaluation.settings import Contender
from evaluation.training import Lane, Trainer
from tasks.families.quadratic import Quadratic
from tasks.families.teacher_regression import TeacherRegression
from tasks.fixed import FixedTask
from tests.evaluation.runs import TASK, ScaledSGD

TRAINER = Trainer()
"""Shared, so that tests compile a program once."""
NARROW: Any = {"num_lanes": 1, "num_checkpoints": 3, "num_valid_batches": 2}
WIDE: Any = {**NARROW, "num_lanes": 2}
ADAM = Contender("adam", BASELINES["adam"])
TASKS = {
    "classifier": TASK,
    "quadratic": FixedTask("quadratic", Quadratic(size=5), 12),
    "teacher": FixedTask(
        "teacher", TeacherRegression(input_size=3, teacher_width=3, widths=(4,), batch_size=4), 12
    ),
}  # fmt: skip


B1, B2 = float(np.float32(0.9)), float(np.float32(0.999))
"""Hyperparameters and their powers are float32: 1 - 0.999 differs by 1.3e-5 of itself."""


def _lane(rate, seed):
    return Lane((("learning_rate", rate),), seed)


@pytest.fixture(scope="module")
def curves():
    return TRAINER.run(TASK, ADAM, [_lane(0.01, 0), _lane(0.1, 1)], **WIDE)


def _plain_update(name, rate, step, grad, memory):
    """(change of the parameters, memory), in float64."""
    if name == "sgd":
        return -rate * grad, memory
    if name == "sgd_momentum":
        memory = 0.9 * memory + grad
        return -rate * memory, memory
    mean, square = memory if step else (0.0, 0.0)
    mean, square = B1 * mean + (1 - B1) * grad, B2 * square + (1 - B2) * grad**2
    first, second = (1 - float(np.float32(decay ** (step + 1))) for decay in (B1, B2))
    return -rate * (mean / first) / (np.sqrt(square / second) + 1e-8), (mean, square)


@pytest.mark.parametrize("task", TASKS)
def test_adam_sgd_and_momentum_equal_a_plain_loop(task):
    """Training and validation losses to 1e-5, on three tasks."""
    fixed = TASKS[task]
    family, (train, valid) = fixed.family, fixed.family.load()
    keys = [jax.random.fold_in(jax.random.key(1), index) for index in range(4)]
    draw = family.draw(keys[0])
    gradient = jax.jit(jax.value_and_grad(family.loss, argnums=1))
    for name, rate in (("adam", 0.01), ("sgd", 0.02), ("sgd_momentum", 0.02)):
        (curve,) = TRAINER.run(fixed, Contender(name, BASELINES[name]), [_lane(rate, 1)], **NARROW)
        params = family.init(draw, keys[1])
        leaves, treedef = jax.tree.flatten(params)
        leaves = [np.asarray(leaf, np.float64) for leaf in leaves]
        memories: list[Any] = [0.0 for _ in leaves]
        losses = []
        for step in range(fixed.num_steps):
            key_batch, key_loss = jax.random.split(jax.random.fold_in(keys[2], step))
            params = treedef.unflatten([jnp.asarray(leaf, jnp.float32) for leaf in leaves])
            loss, grads = gradient(draw, params, family.batch(train, key_batch), key_loss)
            losses.append(float(loss))
            for index, grad in enumerate(jax.tree.leaves(grads)):
                change, memories[index] = _plain_update(name, rate, step, np.asarray(grad, np.float64), memories[index])
                leaves[index] = leaves[index] + change
        np.testing.assert_allclose(curve.train_loss, losses, rtol=1e-5, atol=1e-5 * losses[0], err_msg=name)
        params = treedef.unflatten([jnp.asarray(leaf, jnp.float32) for leaf in leaves])
        valid_losses = []
        for key in jax.random.split(keys[3], 2):
            key_batch, key_loss = jax.random.split(key)
            valid_losses.append(float(gradient(draw, params, family.batch(valid, key_batch), key_loss)[0]))
        np.testing.assert_allclose(curve.valid_loss[-1], np.mean(valid_losses), rtol=1e-5, err_msg=name)


def test_every_optimizer_starts_from_the_same_network_and_a_learned_one_leaves_its_step_sizes(curves):
    optimizer = ScaledSGD()
    learned = Contender("learned", optimizer, optimizer.init(jax.random.key(0)))
    other = TRAINER.run(TASK, learned, [Lane((), 0), Lane((), 1)], **WIDE)
    for ours, theirs in zip(curves, other, strict=True):
        np.testing.assert_allclose(ours.train_loss[0], theirs.train_loss[0], rtol=1e-6)
        assert ours.train_loss[-1] != theirs.train_loss[-1]
    assert curves[0].train_loss[0] != curves[1].train_loss[0]
    assert curves[0].step_sizes is None
    record = other[0].step_sizes
    assert record is not None
    np.testing.assert_array_equal(record.steps, np.arange(TASK.num_steps))
    assert record.values.shape == (TASK.num_steps, len(record.tensors))
    weights = [index for index, name in enumerate(record.tensors) if "bias" not in name]
    assert (record.values[1:, weights] > 0).all()


def test_one_lane_and_two_give_the_same_curves(curves):
    (alone,) = TRAINER.run(TASK, ADAM, [_lane(0.1, 1)], **NARROW)
    np.testing.assert_allclose(alone.train_loss, curves[1].train_loss, rtol=1e-5)
    np.testing.assert_allclose(alone.valid_loss, curves[1].valid_loss, rtol=1e-5)


def test_a_curve_does_not_depend_on_what_runs_beside_it(curves):
    steps = []
    (alone,) = TRAINER.run(TASK, ADAM, [_lane(0.1, 1)], on_steps=steps.append, **WIDE)
    np.testing.assert_array_equal(alone.train_loss, curves[1].train_loss)
    np.testing.assert_array_equal(alone.valid_loss, curves[1].valid_loss)
    assert sum(steps) == TASK.num_steps
    np.testing.assert_array_equal(alone.valid_steps, [4, 8, 12])


def test_a_cost_is_kept(curves):
    cost = curves[0].cost
    assert cost.seconds > 0
    assert cost.cpu_seconds > 0
    assert cost.compile_seconds > 0
    num_parameters = 30 * 4 + 4 + 4 * 2 + 2
    assert 2 * 4 * num_parameters <= cost.state_bytes <= 2 * 4 * num_parameters + 100  # two moments and counters
    assert cost.memory_bytes is None or cost.memory_bytes > cost.state_bytes


def test_thetas_share_a_compiled_program():
    optimizer, trainer = ScaledSGD(), Trainer()
    curves, compilations = [], []
    for rate in (0.1, 0.2):
        contender = Contender(f"sgd {rate}", optimizer, {"rate": jnp.float32(rate)})
        curves += trainer.run(TASK, contender, [Lane((), 5)], **WIDE)
        compilations.append(trainer.programs.num_compilations)
    assert compilations[0] == compilations[1]
    assert curves[0].train_loss[-1] != curves[1].train_loss[-1]


def test_a_diverged_run_is_kept_and_leaves_its_neighbour_alone(curves):
    infinite, fine = TRAINER.run(TASK, ADAM, [_lane(float("nan"), 0), _lane(0.1, 1)], **WIDE)
    assert np.isnan(infinite.train_loss[1:]).all()
    np.testing.assert_array_equal(fine.train_loss, curves[1].train_loss)


def test_an_averaged_optimizer_is_measured_at_its_average():
    """The first two losses agree, since the average of one iterate is that iterate; the end is the average's."""
    plain, averaged = (
        TRAINER.run(TASKS["quadratic"], Contender(name, BASELINES[name]), [Lane((), 3)], **NARROW)[0]
        for name in ("dog", "dog_averaged")
    )
    np.testing.assert_allclose(plain.train_loss[:2], averaged.train_loss[:2], rtol=1e-5)
    assert (plain.train_loss[6:] < averaged.train_loss[6:]).all()  # it falls, and the average lags
    assert plain.valid_loss[-1] != averaged.valid_loss[-1]


def test_a_users_own_optimizer_runs():
    contender = parse_contender("tests.evaluation.runs:own_sgd")
    (curve,) = TRAINER.run(TASKS["quadratic"], contender, [_lane(0.01, 0)], **NARROW)
    assert np.isfinite(curve.train_loss).all()
    assert len(set(curve.train_loss)) == TASK.num_steps
    assert curve.optimizer == "tests.evaluation.runs:own_sgd"


@pytest.mark.parametrize(
    ("num_steps", "num_checkpoints", "lengths"), [(12, 3, [4, 4, 4]), (10, 3, [4, 4, 2]), (2, 10, [1, 1])]
)
def test_segments_cover_the_run_in_at_most_two_lengths(num_steps, num_checkpoints, lengths):
    assert training.segment_lengths(num_steps, num_checkpoints) == lengths


def test_too_many_lanes_are_refused():
    with pytest.raises(ValueError, match=r"in \[1, 2\], got 3"):
        TRAINER.run(TASK, ADAM, [_lane(0.1, seed) for seed in range(3)], **WIDE)


def test_a_trainer_that_keeps_few_programs_gives_the_same_curve():
    task = TASKS["quadratic"]
    (kept,) = TRAINER.run(task, ADAM, [_lane(0.1, 0)], **NARROW)
    few = Trainer(max_programs=1)
    (forgotten,) = few.run(task, ADAM, [_lane(0.1, 0)], **NARROW)
    assert len(few.programs) == 1
    np.testing.assert_array_equal(forgotten.train_loss, kept.train_loss)
