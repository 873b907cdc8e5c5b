"""The warm start: the best optimizer is found, and its updates are learned."""

import jax.numpy as jnp
import optax
import pytest

from meta_train import imitation
from meta_train.imitation import Lesson
from meta_train.settings import Imitation
from tests.meta_train.test_task_problem import FAMILY, LearnedRate


@pytest.fixture(autouse=True)
def _teachers(monkeypatch):
    teachers = {
        "sgd": (lambda rate, num_steps: optax.sgd(rate), (1e-6, 0.1)),
        "still": (lambda rate, num_steps: optax.sgd(0.0 * rate), (1.0,)),
    }
    monkeypatch.setattr(imitation, "TEACHERS", teachers)


def test_the_best_optimizer_is_imitated():
    name, rate, _ = imitation.best_teacher(FAMILY, 40)
    assert (name, rate) == ("sgd", 0.1)
    lesson = Lesson(FAMILY, LearnedRate(), name, inner_steps=20, segment_steps=10)
    start = {"rate": jnp.asarray(0.02)}
    theta, distances = imitation.follow([(lesson, rate)], 40, 0.005, 0, start, lambda kind, **facts: None)
    assert float(theta["rate"]) == pytest.approx(0.1, rel=0.1)
    whole = (0.1 - 0.02) ** 2 / (0.1**2 + 0.02**2)
    assert 0.3 < distances[0] <= whole + 1e-3, "of every tensor but those behind units that never fire"
    assert distances[-1] < 0.01


def test_the_distance_of_updates():
    one = {"a": jnp.array([3.0, 4.0]), "b": jnp.array(2.0)}
    still = {"a": jnp.zeros(2), "b": jnp.zeros(())}
    assert float(imitation.distance(one, one)) == 0.0
    assert float(imitation.distance(one, still)) == 1.0
    assert float(imitation.distance(one, {"a": -one["a"], "b": one["b"]})) == pytest.approx(1.0)
    assert float(imitation.distance(still, still)) == 0.0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_steps": -1}, "num_steps must be at least 0, got -1"),
        ({"num_tasks": 0}, "num_tasks must be at least 1, got 0"),
        ({"inner_steps": 30}, "inner_steps must be a multiple of segment_steps, got 30 and 20"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
    ],
)
def test_bad_settings_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        Imitation(**fields)
