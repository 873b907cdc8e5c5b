"""The task problem: weights, lengths, common random numbers, and runs that diverge."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from meta_train import task_problem, worker
from meta_train.estimators import FullES
from meta_train.objectives import FinalLoss, LossRatio, MeanLoss, WeightedCurve
from meta_train.programs import Programs
from meta_train.task_problem import Episodes, TaskProblem
from tasks import inner_loop
from tasks.families.mlp_classifier import MLPClassifier
from tasks.family import NORMALIZED_RANGE
from tests.meta_train.settings import TINY, TINY_FULL
from velo.learned_optimizer import LearnedOptimizer

FAMILY = MLPClassifier(widths=(4,), batch_size=4)


@dataclasses.dataclass(frozen=True)
class LearnedRate(LearnedOptimizer):
    """Gradient descent; theta is its rate."""

    def init(self, key):
        return {"rate": jnp.asarray(0.1)}

    def bind(self, theta, num_steps):
        return optax.with_extra_args_support(optax.sgd(theta["rate"]))


@pytest.mark.parametrize("num_steps", [3, 25, 400])
@pytest.mark.parametrize(
    "objective",
    [WeightedCurve(), WeightedCurve(tail_share=0.0), WeightedCurve(tail_share=1.0, tail_steps=10), MeanLoss()],
)
def test_weights_sum_to_one_and_cover_the_tail(objective, num_steps):
    weights = objective.weights(jnp.arange(num_steps), jnp.asarray(num_steps))
    assert float(jnp.sum(weights)) == pytest.approx(1.0, rel=1e-4)
    assert jnp.all(weights >= 0)
    assert weights[-1] == jnp.max(weights)


def test_lengths_are_whole_segments_within_the_range():
    problem = TaskProblem(FAMILY, LearnedRate(), Episodes(50, 100, 1000))
    keys = jax.random.split(jax.random.key(0), 1000)
    lengths = jax.vmap(problem.sample_length, in_axes=(None, 0))(problem.data(), keys)
    assert int(lengths.min()) == 2
    assert int(lengths.max()) == 20
    assert float(np.median(lengths)) == pytest.approx(np.sqrt(2 * 20), rel=0.15)


def test_the_length_of_an_estimate_is_known_before_it_is_computed():
    settings = dataclasses.replace(TINY_FULL, num_workers=3, episodes=Episodes(3, 3, 90))
    lengths = worker.lengths(settings, 5)
    assert len(set(lengths)) > 1
    theta = settings.optimizer.init(jax.random.key(0))
    contribution, _ = worker.compute(settings, Programs(settings.estimator), theta, 5, 5, 1, ())
    assert contribution.num_inner_steps == 2 * 2 * 3 * lengths[1]
    assert worker.lengths(TINY, 5).tolist() == [1, 1]


def test_segments_equal_one_run():
    problem = TaskProblem(FAMILY, LearnedRate(), Episodes(5, 5, 20))
    theta, key = {"rate": jnp.asarray(0.3)}, jax.random.key(1)
    data = problem.data()

    @jax.jit
    def in_segments():
        carry, total = problem.reset(theta, key, jnp.asarray(4)), 0.0
        for _ in range(4):
            carry, segment = problem.advance(theta, carry, data)
            total = total + segment.loss
        return carry.state.params, total, segment.done

    @jax.jit
    def at_once():
        key_draw, key_init, key_train = jax.random.split(key, 3)
        draw = FAMILY.draw(key_draw)
        tx = optax.sgd(0.3)
        state = inner_loop.start(FAMILY, tx, draw, key_init)
        state, losses = inner_loop.train(FAMILY, tx, draw, state, data.train, key_train, num_steps=20)
        weights = WeightedCurve().weights(jnp.arange(20), jnp.asarray(20))
        return state.params, jnp.sum(weights * jax.vmap(FAMILY.normalize)(losses))

    params, total, done = in_segments()
    expected_params, expected = at_once()
    assert bool(done)
    assert float(total) == pytest.approx(float(expected), rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), params, expected_params)


def test_a_diverging_run_is_counted_and_bounded():
    problem = TaskProblem(FAMILY, LearnedRate(), Episodes(10, 40, 40))
    data = problem.data()
    estimate, _ = jax.jit(FullES(2, 0.1).estimate, static_argnums=0)(
        problem, {"rate": jnp.asarray(1e30)}, (), data, jax.random.key(2)
    )
    assert int(estimate.num_nonfinite) > 50
    assert float(estimate.loss) <= NORMALIZED_RANGE[1]
    assert float(estimate.loss) > NORMALIZED_RANGE[1] - 0.5
    assert np.isfinite(estimate.grad["rate"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1, 1), "segment_steps must be at least 1, got 0"),
        ((50, 10, 100), "50, 10, 100"),
        ((5, 10, 9), "5, 10, 9"),
        ((50, 100, 130), "max_steps must be a multiple of segment_steps, got 130"),
    ],
)
def test_bad_episodes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Episodes(*arguments)


@pytest.mark.parametrize("split", ["train", "valid"])
def test_objectives_of_the_end_judge_what_training_left(split):
    theta, key = {"rate": jnp.asarray(0.1)}, jax.random.key(4)
    problems = [
        TaskProblem(FAMILY, LearnedRate(), Episodes(10, 20, 20, objective))
        for objective in (FinalLoss(split, 3), LossRatio(split, 3), WeightedCurve(split, 3), MeanLoss(split, 3))
    ]
    data = problems[0].data()

    @jax.jit
    def judge(theta, key):
        judged = []
        for problem in problems:
            carry, total = problem.reset(theta, key, jnp.asarray(2)), 0.0
            for _ in range(2):
                carry, segment = problem.advance(theta, carry, data)
                total = total + segment.loss
            judged.append((total, problem.end(carry, data)))
        _, key_init, key_train = jax.random.split(key, 3)
        fresh = jax.random.fold_in(key_train, task_problem.FRESH_BATCHES)
        batches = data.train if split == "train" else data.valid
        first, last = (
            inner_loop.mean_loss(FAMILY, carry.draw, params, batches, fresh, num_batches=3)
            for params in (FAMILY.init(carry.draw, key_init), carry.state.params)
        )
        return judged, first, last

    (final, ratio, curve, mean), first, last = judge(theta, key)
    assert final[0] == ratio[0] == curve[1] == mean[1] == 0.0
    assert float(final[1]) == pytest.approx(float(FAMILY.normalize(last)), rel=1e-5)
    assert float(ratio[1]) == pytest.approx(float(jnp.log((last / first + 0.003) / 1.003)), rel=1e-4)
    assert last < first
    assert final[1] < mean[0] < 0.2, "the mean of a falling curve lies above its end"
    assert final[1] - 0.3 < curve[0] < mean[0] + 0.3


def test_a_ratio_of_broken_losses_is_the_worst():
    draw = FAMILY.draw(jax.random.key(0))
    initial = FAMILY.init(draw, jax.random.key(1))
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, initial)
    judged = LossRatio(num_batches=1).end(FAMILY, draw, initial, broken, FAMILY.load()[0], jax.random.key(2))
    assert float(judged) == NORMALIZED_RANGE[1]
