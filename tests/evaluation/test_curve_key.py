import dataclasses

import numpy as np
import pytest

from evaluation import curve_key as identity
from evaluation import specification
from evaluation.baselines import BASELINES
from evaluation.contender import Contender
from evaluation.training import Lane
from evaluation.tuning import OneShot, RandomSearch
from tasks.families.mlp_classifier import MLPClassifier
from tests.evaluation.runs import TASK, ScaledSGD

BASE = {
    "task": TASK,
    "contender": Contender("learned", ScaledSGD(), {"rate": np.float32(0.1)}),
    "lane": Lane((), 0),
    "num_checkpoints": 3,
    "num_valid_batches": 2,
}


def _key(**changes):
    parts = {**BASE, **changes}
    lane = parts.pop("lane")
    return identity.key(identity.common(parts.pop("task"), parts.pop("contender"), **parts), lane)


def test_equal_parts_give_equal_keys():
    contender = Contender("learned", ScaledSGD(), {"rate": np.float32(0.1)})
    assert _key() == _key(contender=contender, task=dataclasses.replace(TASK))


def test_neither_the_name_nor_the_budget_is_part_of_a_key():
    assert _key(contender=Contender("renamed", ScaledSGD(), {"rate": np.float32(0.1)})) == _key()
    once, often = (Contender("adam", BASELINES["adam"], tuner=tuner) for tuner in (OneShot(), RandomSearch(25)))
    assert _key(contender=once) == _key(contender=often)


def test_a_users_own_code_is_part_of_a_key(monkeypatch):
    digests = []
    monkeypatch.setattr(identity, "_source_digest", lambda *modules: digests.append(modules) or "")
    _key(contender=specification.parse("tests.evaluation.runs:own_sgd"))
    assert digests[0][-1] == "tests.evaluation.runs"


@pytest.mark.parametrize(
    "changes",
    [
        {"task": dataclasses.replace(TASK, num_steps=13)},
        {"task": dataclasses.replace(TASK, name="other")},
        {"task": dataclasses.replace(TASK, family=MLPClassifier(dataset="breast_cancer", widths=(5,), batch_size=8))},
        {"contender": Contender("learned", ScaledSGD(), {"rate": np.float32(0.2)})},
        {"contender": Contender("learned", BASELINES["adam"])},
        {"contender": Contender("learned", BASELINES["adam"].with_schedule("cosine"))},
        {"lane": Lane((), 1)},
        {"lane": Lane((("learning_rate", 0.1),), 0)},
        {"num_checkpoints": 4},
        {"num_valid_batches": 3},
    ],
)
def test_whatever_determines_a_curve_changes_its_key(changes):
    assert _key(**changes) != _key()


@pytest.mark.parametrize("name", identity.DISTRIBUTIONS)
def test_a_new_version_changes_the_key(monkeypatch, name):
    before = _key()
    changed = {**identity.versions(), name: "999"}
    monkeypatch.setattr(identity, "versions", lambda: changed)
    assert _key() != before


def test_the_source_digest_follows_the_files(tmp_path, monkeypatch):
    (tmp_path / "some_package").mkdir()
    file = tmp_path / "some_package" / "__init__.py"
    file.write_text("A = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = identity._source_digest.__wrapped__("some_package")
    file.write_text("A = 2\n")
    assert identity._source_digest.__wrapped__("some_package") != before
