import ast
import dataclasses
from pathlib import Path

import numpy as np
import optax
import pytest

import tasks
import velo
from evaluation import curve_key
from evaluation.baselines import BASELINES, Baseline
from evaluation.settings import Contender
from evaluation.training import Lane
from evaluation.tuning import OneShot, RandomSearch
from tasks import prng
from tasks.families.mlp_classifier import MLPClassifier
from tasks.families.optimizer_unroll import OptimizerUnroll
from tasks.wrappers.reduced_precision import ReducedPrecision
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
    return curve_key.key(curve_key.common(parts.pop("task"), parts.pop("contender"), **parts), lane)


def test_equal_parts_give_equal_keys():
    contender = Contender("learned", ScaledSGD(), {"rate": np.float32(0.1)})
    assert _key() == _key(contender=contender, task=dataclasses.replace(TASK))


def test_neither_the_name_nor_the_budget_is_part_of_a_key():
    assert _key(contender=Contender("renamed", ScaledSGD(), {"rate": np.float32(0.1)})) == _key()
    once, often = (Contender("adam", BASELINES["adam"], tuner=tuner) for tuner in (OneShot(), RandomSearch(25)))
    assert _key(contender=once) == _key(contender=often)


def own_factory(hyperparameters, num_steps):
    return optax.sgd(0.1)


def test_a_users_own_code_is_part_of_a_key():
    own = Contender("own", Baseline("own", own_factory, "-"))
    assert curve_key.sources(TASK, own)[-1] == __name__
    wrapped = dataclasses.replace(TASK, family=ReducedPrecision(TASK.family))
    assert curve_key.sources(wrapped, own) == curve_key.sources(TASK, own)


ADAM = Contender("adam", BASELINES["adam"])


def _imported_from_velo():
    """Modules of `velo` that the files of `tasks` import."""
    found = set()
    for path in Path(tasks.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "velo":
                found.update([f"velo.{alias.name}" for alias in node.names] if node.module == "velo" else [node.module])
    return found


def test_the_random_numbers_behind_batches_are_among_the_code_of_tasks():
    assert prng.__name__.partition(".")[0] in curve_key.sources(TASK, ADAM)


def test_whatever_of_velo_makes_the_batches_of_a_baseline_is_part_of_its_key():
    """All that `tasks` imports, apart from annotations and from learned optimizers that a task may hold."""
    only_where_held = {"velo.shapes", "velo.learned_optimizer", "velo.architectures"}
    assert _imported_from_velo() - only_where_held <= set(curve_key.sources(TASK, ADAM))
    assert "velo" not in curve_key.sources(TASK, ADAM)
    holder = dataclasses.replace(TASK, family=OptimizerUnroll(TASK.family, velo.AdafacMLP(), 2))
    assert "velo" in curve_key.sources(holder, ADAM)


@pytest.mark.parametrize("module", ["evaluation.training", "tasks", "evaluation.baselines"])
def test_a_change_of_the_code_behind_a_baselines_curve_changes_its_key(monkeypatch, module):
    before = _key(contender=ADAM)
    real = curve_key.source_digest
    monkeypatch.setattr(curve_key, "source_digest", lambda *modules: f"{real(*modules)} {module in modules}")
    changed = _key(contender=ADAM)
    monkeypatch.setattr(curve_key, "source_digest", lambda *modules: f"{real(*modules)} False")
    assert changed not in (before, _key(contender=ADAM))


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


@pytest.mark.parametrize("name", curve_key.DISTRIBUTIONS)
def test_a_new_version_changes_the_key(monkeypatch, name):
    before = _key()
    changed = {**curve_key.versions(), name: "999"}
    monkeypatch.setattr(curve_key, "versions", lambda: changed)
    assert _key() != before


def _digest() -> str:
    curve_key._code.cache_clear()
    return curve_key.source_digest.__wrapped__("some_package")


def test_the_source_digest_follows_the_code_and_not_what_is_said_of_it(tmp_path, monkeypatch):
    package = tmp_path / "some_package"
    package.mkdir()
    (package / "__init__.py").write_text('"""One."""\n\n\ndef f(a):\n    """Twice a."""\n    return 2 * a  # twice\n')
    (package / "kernel.cpp").write_text("int a = 1;\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = _digest()
    (package / "__init__.py").write_text('"""Another."""\ndef f(a):\n  return (2*a)\n')
    (package / "data.txt").write_text("not code")
    assert _digest() == before
    (package / "__init__.py").write_text("def f(a):\n    return 3 * a\n")
    changed = _digest()
    (package / "kernel.cpp").write_text("int a = 2;\n")
    assert len({before, changed, _digest()}) == 3


def test_parts_lie_in_fields_and_in_tuples_at_any_depth():
    held = OptimizerUnroll(TASK.family, velo.AdafacMLP(), 2)
    assert list(curve_key.parts(((3, held), "text"))) == [held, TASK.family, velo.AdafacMLP()]
