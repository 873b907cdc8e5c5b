"""Curricula: what grows, when a mixture takes over, and what is refused."""

import collections
import dataclasses

import pytest

from meta_train import worker
from meta_train.curriculum import Curriculum
from meta_train.task_problem import Episodes
from tasks.mixture import MIXTURES, get_mixture
from tests.meta_train.settings import TINY_FULL

EPISODES = Episodes(50, 100, 1600)
SMALL, BROAD, AUGMENTED = (get_mixture(name) for name in ("small", "broad", "broad_augmented"))


def test_nothing_changes_by_default():
    for step in (0, 7, 10**6):
        assert Curriculum().max_steps(EPISODES, step) == 1600
        assert Curriculum().mixture(SMALL, step) == SMALL


def test_lengths_grow_geometrically_in_whole_segments():
    curriculum = Curriculum(growth_steps=40, first_max_steps=100)
    lengths = [curriculum.max_steps(EPISODES, step) for step in range(0, 60, 10)]
    assert lengths == [100, 200, 400, 800, 1600, 1600]
    assert Curriculum(growth_steps=40, first_max_steps=1).max_steps(EPISODES, 0) == EPISODES.min_steps


def test_costs_are_capped_while_they_grow():
    curriculum = Curriculum(growth_steps=20, first_step_seconds=1e-4, last_step_seconds=1e-2)
    caps = [curriculum.mixture(MIXTURES["small"], step).max_step_seconds for step in (0, 10, 20)]
    assert caps == [pytest.approx(1e-4), pytest.approx(1e-3), None]


def test_mixtures_take_over_at_their_steps():
    curriculum = Curriculum(mixtures=(BROAD, AUGMENTED), mixture_starts=(10, 20))
    found = [curriculum.mixture(SMALL, step) for step in (0, 9, 10, 19, 20)]
    assert found == [SMALL, SMALL, BROAD, BROAD, AUGMENTED]


def test_a_pool_covers_the_families_evenly_and_each_pass_visits_all_of_it():
    settings = dataclasses.replace(TINY_FULL, mixture=SMALL, family_pool=12, num_workers=4, family_steps=1)
    passes = [
        [worker.family_of(settings, index, step) for step in steps for index in range(4)]
        for steps in (range(3), range(3, 6))
    ]
    for families in passes:
        counts = collections.Counter(type(family).__name__ for family in families)
        assert counts == {"MLPClassifier": 6, "ConvClassifier": 2, "MLPLanguageModel": 4}  # as 3 to 1 to 2
    assert passes[0] != passes[1]
    assert set(passes[0]) == set(passes[1])


def test_a_family_is_that_of_the_step_at_which_it_was_taken_up():
    curriculum = Curriculum(mixtures=(BROAD,), mixture_starts=(6,))
    settings = dataclasses.replace(TINY_FULL, curriculum=curriculum, family_pool=0)
    before = dataclasses.replace(settings, curriculum=Curriculum())
    after = dataclasses.replace(before, mixture=BROAD)
    for step, expected in ((0, before), (7, before), (8, after)):
        families = [worker.family_of(settings, index, step) for index in range(2)]
        assert families == [worker.family_of(expected, index, step) for index in range(2)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"growth_steps": -1}, "growth_steps must be at least 0, got -1"),
        ({"first_max_steps": 100}, "growth_steps must be at least 1 where something grows"),
        ({"growth_steps": 5, "first_max_steps": 0}, "first_max_steps must be at least 1, got 0"),
        ({"growth_steps": 5, "first_step_seconds": 1.0}, "or neither, got 1.0 and None"),
        ({"growth_steps": 5, "first_step_seconds": 1.0, "last_step_seconds": 0.5}, "got 1.0 and 0.5"),
        ({"mixtures": (BROAD,)}, r"as many mixture_starts, .* got \['broad'\] and \(\)"),
        ({"mixtures": (BROAD, SMALL), "mixture_starts": (9, 9)}, "positive and growing"),
    ],
)
def test_bad_curricula_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        Curriculum(**fields)
