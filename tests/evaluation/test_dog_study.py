"""The parts of the study of DoG: runs with both points and all steps, its tasks, T-DoG's bound."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from evaluation import baselines, iterate_runs
from evaluation.baselines import averaging
from evaluation.studies import dog, transfer_tasks
from evaluation.studies.dog import DoG
from evaluation.studies.transfer_tasks import FineTuning, HalfDigits, LeastSquares, LinearProbe
from tasks import inner_loop

SMALL = LeastSquares(size=4, batch_size=2)


def test_averaged_baselines_have_the_average_of_the_plain_ones():
    """All of their hyperparameters can be set too."""
    for name in ("sgd", "sgd_momentum", "dog", "ldog", "tdog"):
        plain, averaged = baselines.get(name), baselines.get(f"{name}_averaged")
        assert (averaged.space, averaged.defaults) == (plain.space, plain.defaults)
        assert averaged.evaluation_params is averaging.average
        assert baselines.get(f"{name}_averaged_cosine").schedule == "cosine"
    params = jnp.ones(3)
    tx = baselines.get("dog").bind({"reps_rel": 0.5}, 10)
    update, _ = tx.update(jnp.array([3.0, 0.0, 4.0]), tx.init(params), params)
    assert optax.tree.norm(update) == pytest.approx(0.5 * (1 + 3**0.5), rel=1e-5)


def test_runs_equal_a_plain_loop():
    settings = ((("learning_rate", 0.1),), (("learning_rate", 0.3),))
    shared = {"family": SMALL, "optimizer": "sgd", "num_steps": 6, "num_valid_batches": 3}
    found = iterate_runs.iterate_runs(**shared, settings=settings, num_seeds=2)
    assert {name: array.shape for name, array in found.items()} == {
        "last": (2, 2), "average": (2, 2), "train": (2, 2, 6), "step_sizes": (2, 2, 6), "distance": (2, 2),
    }  # fmt: skip
    np.testing.assert_allclose(found["step_sizes"][1], 0.3, rtol=1e-5)
    # Slow: gradients and averages in NumPy, batches from the same keys.
    keys = jax.random.split(jax.random.fold_in(jax.random.key(0), 1), 4)
    x = mean = np.zeros(4)
    farthest = 0.0
    for step in range(6):
        key_batch, _ = jax.random.split(jax.random.fold_in(keys[2], step))
        inputs, targets = (np.asarray(part, np.float64) for part in SMALL.batch((), key_batch))
        x = x - 0.3 * inputs.T @ (inputs @ x - targets) / len(targets)
        mean = (1 - 9 / (step + 9)) * mean + 9 / (step + 9) * x
        farthest = max(farthest, np.linalg.norm(x))
    assert found["distance"][1, 1] == pytest.approx(farthest, rel=1e-4)
    for name, point in (("last", x), ("average", mean)):
        params = {"x": jnp.asarray(point, jnp.float32)}
        loss = inner_loop.mean_loss(SMALL, (), params, (), keys[3], num_batches=3)
        assert found[name][1, 1] == pytest.approx(float(loss), rel=1e-4)
    with pytest.raises(ValueError, match=r"must have the hyperparameters \('learning_rate',\)"):
        iterate_runs.iterate_runs(**shared, settings=(settings[0], (("momentum", 0.1),)), num_seeds=1)


def test_least_squares_has_its_solution_and_its_reference_loss():
    family = LeastSquares(size=6, batch_size=20_000, noise=0.5)
    batch = family.batch((), jax.random.key(0))
    start = family.init((), jax.random.key(0))
    assert family.loss((), start, batch, None) == pytest.approx(family.reference_loss, rel=0.05)
    best = {"x": jnp.asarray(family.solution(), jnp.float32)}
    gradient = jax.grad(lambda params: family.loss((), params, batch, None))(best)["x"]
    np.testing.assert_allclose(gradient, 0.0, atol=0.02)
    tails = LeastSquares(size=6, batch_size=20_000, has_heavy_tails=True)
    inputs, targets = tails.batch((), jax.random.key(0))
    noise = targets - inputs @ tails.solution()
    assert np.abs(noise).max() > 50 * np.median(np.abs(noise))


@pytest.mark.parametrize("reps_rel", [1e-6, 0.1, 1.0])
def test_tdog_stays_within_three_times_the_distance_to_the_solution(reps_rel):
    """Deterministic gradients included, where DoG moves without noise to hold it back."""
    family = LeastSquares(size=10, noise=0.1)
    found = iterate_runs.iterate_runs(
        family=family, optimizer="tdog", settings=((("reps_rel", reps_rel),),), num_seeds=3, num_steps=200
    )
    assert (found["distance"] <= 3 * np.linalg.norm(family.solution())).all()


def test_the_constants_of_the_bound_close():
    """docs/studies/dog.md: induction keeps |x_t - x*| below 2 |x_0 - x*| for every failure probability and length."""
    for theta in np.log(60 * np.log(6 * np.array([1.0, 10.0, 1e6])) / 0.999):
        squares = 9 / 8**4 / theta**2
        noise = 2 * 8 * 3 * 2 * np.sqrt(1 / (8**4 * theta) + 1 / (16 * 8**4))
        assert 1 + squares + noise <= 4


@pytest.mark.slow
def test_networks_start_from_the_other_half_of_the_classes(monkeypatch):
    monkeypatch.setattr(transfer_tasks, "PRETRAINING_STEPS", 2)
    for cached in (transfer_tasks._pretrained, transfer_tasks._features):
        cached.cache_clear()
    (_, first), (_, second) = HalfDigits().load()[0], FineTuning().load()[0]
    assert (first.min(), first.max(), second.min(), second.max()) == (0, 4, 0, 4)
    assert len(first) + len(second) == 1438
    tuned, probe = FineTuning(), LinearProbe()
    draw = tuned.draw(jax.random.key(0)).undisturbed()
    one, two = (tuned.init(draw, jax.random.key(seed)) for seed in (0, 1))
    np.testing.assert_array_equal(one["conv_1"]["w"], two["conv_1"]["w"])
    assert (one["output"]["w"] != two["output"]["w"]).any()
    params = probe.init(draw, jax.random.key(0))
    loss = probe.loss(draw, params, probe.batch(probe.load()[0], jax.random.key(2)), jax.random.key(3))
    assert np.isfinite(loss)
    for cached in (transfer_tasks._pretrained, transfer_tasks._features):
        cached.cache_clear()


def test_a_run_of_flags_and_a_plateau():
    assert dog._longest(np.array([True, False, True, True, True, False])) == 3
    sizes = np.concatenate([np.full((2, 3, 18), 9.0), np.full((2, 3, 2), 0.5)], axis=-1)
    np.testing.assert_array_equal(dog._plateau(sizes), [0.5, 0.5])
    with pytest.raises(ValueError, match="tasks must be some of logistic_digits"):
        DoG(tasks=("imagenet",))
