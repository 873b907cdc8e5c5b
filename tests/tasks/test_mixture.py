"""Mixtures: reproducible, varied, buildable, and apart from what evaluation reports on."""

import collections

import numpy as np
import pytest

from tasks import fixed, mixture
from tasks.data.missing import MissingDataError
from tasks.family import num_params
from tasks.mixture import FAMILIES, HELD_OUT_FAMILIES, MIXTURES, TaskMixture, get_mixture
from tasks.wrappers.wrapper import Wrapper


def sample(name, num):
    return [get_mixture(name).sample(np.random.default_rng((0, index))) for index in range(num)]


def innermost(family):
    while isinstance(family, Wrapper):
        family = family.family
    return family


@pytest.mark.parametrize("name", sorted(MIXTURES))
def test_equal_seeds_give_equal_families(name):
    assert sample(name, 20) == sample(name, 20)
    assert len(set(sample(name, 20))) > 10


def test_every_family_samples_architectures_that_build():
    for name, cls in FAMILIES.items():
        families = {cls.sample(np.random.default_rng(seed)) for seed in range(3)}
        for family in families:
            assert isinstance(family, cls), name
            assert 1 <= num_params(family) <= 100_000


@pytest.mark.slow
def test_a_thousand_samples_build():
    sizes = [num_params(family) for family in set(sample("broad_augmented", 1000))]
    assert min(sizes) >= 2
    assert max(sizes) <= 100_000


def test_broad_draws_every_family_but_those_held_out():
    counts = collections.Counter(type(family).__name__ for family in sample("broad", 500))
    assert counts.keys() == FAMILIES.keys() - set(HELD_OUT_FAMILIES)


def test_suites_share_no_task_with_the_mixtures():
    """Other data, or data generated afresh with an architecture that is never sampled."""
    families = {innermost(family) for name in ("broad", "small") for family in sample(name, 2000)}
    datasets = {family.dataset for family in families if family.dataset != "none"}
    for suite in fixed.SUITES.values():
        for name in suite:
            family = fixed.TASKS[name].family
            assert family not in families
            assert family.dataset == "none" or family.dataset not in datasets, f"{name} is on data of a mixture"


@pytest.mark.parametrize(
    ("families", "augmentation", "message"),
    [
        ((), "none", "must not be empty"),
        ((("MLP", 1.0),), "none", "unknown family 'MLP'"),
        ((("Quadratic", 0.0),), "none", "weight of Quadratic must be positive, got 0.0"),
        ((("Quadratic", 1.0),), "all", "unknown augmentation 'all'"),
    ],
)
def test_errors_name_the_value(families, augmentation, message):
    with pytest.raises(ValueError, match=message):
        TaskMixture(families, augmentation)


def test_unknown_mixture():
    with pytest.raises(ValueError, match="unknown mixture 'huge'; known: broad"):
        get_mixture("huge")


def test_mixture_skips_missing_data(monkeypatch):
    monkeypatch.setattr(mixture, "is_here", lambda name: name in ("digits", "flower"))
    weights = (("MLPClassifier", 1.0), ("RNNLanguageModel", 1.0))
    some = TaskMixture(weights[:1], image_datasets=("flower", "mnist", "digits"), skip_missing=True)
    datasets = {some.sample(np.random.default_rng(seed)).dataset for seed in range(20)}
    assert datasets == {"flower", "digits"}
    none = TaskMixture(weights[1:], skip_missing=True)
    with pytest.raises(MissingDataError, match="python_help"):
        none.sample(np.random.default_rng(0))
    everything = TaskMixture(weights[:1], image_datasets=("mnist",))
    assert everything.sample(np.random.default_rng(0)).dataset == "mnist"


def test_data_of_the_wrong_kind_is_refused():
    with pytest.raises(ValueError, match="'digits' is not a data set of kind text; known: lm1b"):
        TaskMixture((("Quadratic", 1.0),), text_datasets=("digits",))
