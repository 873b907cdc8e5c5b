"""Suites: their names, and that their tasks build."""

import dataclasses
from typing import Any, cast

import jax
import numpy as np
import pytest

from configs import meta_training
from tasks import adam_grid, fixed, mixture
from tasks.families.quadratic import Quadratic
from tasks.family import num_params


def test_names_are_unique_and_known():
    names = [name for suite, names in fixed.SUITES.items() if suite not in PARTS for name in names]
    assert len(set(names)) == len(names)
    assert set(names) == fixed.TASKS.keys()


PARTS = ("holdout_quick", "meta_valid_11")
"""Suites whose tasks are of another."""


def test_holdout_and_meta_valid_are_apart():
    holdout, valid = (set(fixed.SUITES[name]) for name in ("holdout_small", "meta_valid"))
    assert not holdout & valid
    assert set(fixed.SUITES["holdout_quick"]) < holdout
    assert len(holdout) >= 12
    assert len(fixed.SUITES["holdout_quick"]) == 4
    assert all(500 <= fixed.TASKS[name].num_steps <= 2000 for name in holdout)
    datasets = [{fixed.TASKS[name].family.dataset for name in names} - {"none"} for names in (holdout, valid)]
    assert not datasets[0] & datasets[1]


@pytest.mark.parametrize("reported", ["holdout_small", "stretch", "robustness", "velodrome"])
def test_no_reported_suite_has_a_task_or_data_of_meta_valid(reported):
    """Generated data have no name, so families on them are compared by their fields."""
    valid = [fixed.TASKS[name].family for name in fixed.SUITES["meta_valid"]]
    for name in fixed.SUITES[reported]:
        family = fixed.TASKS[name].family
        assert family not in valid
        assert family.dataset == "none" or family.dataset not in {one.dataset for one in valid}, name


def test_the_data_of_meta_valid_are_in_no_mixture():
    datasets = {fixed.TASKS[name].family.dataset for name in fixed.SUITES["meta_valid"]} - {"none"}
    assert not datasets & set(mixture_datasets())


def mixture_datasets():
    """Names of the data sets of all mixtures."""
    for found in mixture.MIXTURES.values():
        parts = [part for part, _ in found.parts] if isinstance(found, mixture.WeightedMixtures) else [found]
        for part in cast(Any, parts):
            yield from (*part.image_datasets, *part.text_datasets)


def test_meta_valid_goes_on_from_the_eleven_tasks_of_before():
    eleven = fixed.SUITES["meta_valid_11"]
    assert len(eleven) == 11
    assert fixed.SUITES["meta_valid"][:11] == eleven
    added = [fixed.TASKS[name] for name in fixed.SUITES["meta_valid"][11:]]
    assert max(task.num_steps for task in added) == 5000
    assert {type(task.family).__name__ for task in added} == {
        "ClickModel", "GraphClassifier", "MLPClassifier", "RNNLanguageModel",
    }  # fmt: skip


WIDTHS = ("channels", "embedding_size", "vocabulary_size", "width", "widths")


def widths(family):
    """The largest of every width of a family, by its name."""
    values = {name: getattr(family, name) for name in WIDTHS if hasattr(family, name)}
    if "dataset" in vars(family) and family.dataset != "none":
        values.pop("vocabulary_size", None)  # the data set determines it
    return {name: max(value) if isinstance(value, tuple) else value for name, value in values.items()}


def test_stretch_is_ten_times_as_long_and_wide_as_anything_that_the_laptop_preset_trains_on():
    preset = meta_training.PRESETS["laptop"].settings
    for task in fixed.STRETCH:
        assert task.num_steps >= 10 * preset.episodes.max_steps
        sampled = [cast(Any, type(task.family)).sample(np.random.default_rng(seed)) for seed in range(200)]
        for name, width in widths(task.family).items():
            assert width >= 10 * max(widths(family)[name] for family in sampled), (task.name, name)


@pytest.mark.slow
@pytest.mark.parametrize("task", fixed.STRETCH, ids=lambda task: task.name)
def test_adam_trains_on_the_first_steps_of_stretch(task):
    losses, _ = adam_grid.time_run(dataclasses.replace(task, num_steps=300), 1e-3)
    assert np.all(np.isfinite(losses))
    assert losses[-20:].mean() < 0.9 * losses[:5].mean()  # clicks are mostly noise


@pytest.mark.parametrize("name", sorted(set(fixed.TASKS) - set(fixed.SUITES["public"])))
def test_task_builds(name):
    family = fixed.TASKS[name].family
    assert num_params(family) >= (4 if name in fixed.SUITES["velodrome"] else 100)

    def loss(data, key):
        draw = family.draw(key)
        return family.loss(draw, family.init(draw, key), family.batch(data, key), key)

    assert jax.eval_shape(loss, family.load()[0], jax.random.key(0)).shape == ()


def test_unknown_suite_and_bad_steps():
    with pytest.raises(ValueError, match="unknown suite 'all'; known: crowded_valley"):
        fixed.get_suite("all")
    with pytest.raises(ValueError, match="num_steps must be at least 1, got 0"):
        fixed.FixedTask("quadratic", Quadratic(), 0)


def test_adam_grid_finds_a_rate_inside_the_grid():
    result = adam_grid.search(
        fixed.FixedTask("quadratic", Quadratic(size=4), 100), rates=(1e-5, 1e-1, 1e3), num_seeds=2
    )
    assert result.place == 1
    assert result.seed_losses.max() < result.first_loss
