import re
import sys

import jax
import pytest

import velo
from evaluation import specification, suites
from evaluation.baselines import BASELINES, Baseline
from evaluation.tuning import LogGrid, OneShot, OptunaSearch, RandomSearch
from tests.evaluation.runs import SUITE, TASK

OWN = "tests.evaluation.runs"


@pytest.mark.parametrize(
    ("text", "name", "rule", "tuner"),
    [
        ("adam", "adam", "adam", LogGrid(7)),
        ("adam@1", "adam@1", "adam", OneShot()),
        ("adam@25", "adam@25", "adam", RandomSearch(25)),
        ("adam@grid15", "adam@grid15", "adam", LogGrid(15)),
        ("nadamw_cosine@optuna25", "nadamw_cosine@optuna25", "nadamw_cosine", OptunaSearch(25)),
        ("strong=nadamw_cosine@25", "strong", "nadamw_cosine", RandomSearch(25)),
        ("prodigy", "prodigy", "prodigy", OneShot()),
        (f"{OWN}:own_sgd", f"{OWN}:own_sgd", f"{OWN}:own_sgd", LogGrid(7)),
        (f"mine={OWN}:own_sgd@3", "mine", f"{OWN}:own_sgd", RandomSearch(3)),
    ],
)
def test_what_a_specification_means(text, name, rule, tuner):
    contender = specification.parse(text, num_rates=7)
    assert isinstance(contender.rule, Baseline)
    assert (contender.name, contender.rule.name, contender.tuner) == (name, rule, tuner)


@pytest.mark.parametrize(("text", "name"), [("velo", "velo"), ("untrained", "untrained"), ("ours=velo", "ours")])
def test_learned_optimizers_that_need_no_file(text, name):
    contender = specification.parse(text)
    assert isinstance(contender.rule, velo.VeLO) and contender.is_learned
    assert contender.name == name


def test_numbers_of_a_users_function_are_its_hyperparameters():
    rule = specification.parse(f"{OWN}:own_sgd").rule
    assert isinstance(rule, Baseline)
    assert dict(rule.defaults) == {"learning_rate": 0.1}
    assert [name for name, _ in rule.space] == ["learning_rate"]
    assert rule.factory.__module__ == OWN
    rule.bind({}, 10).init({})


@pytest.mark.parametrize("text", ["{}", "{}:", "mine:{}", "short={}"])
def test_weights_files_are_learned_optimizers(tmp_path, text):
    optimizer = velo.VeLO(lstm_size=2, num_mixtures=2)
    path = tmp_path / "best.velo"
    velo.save_weights(path, optimizer, optimizer.init(jax.random.key(0)))
    if text == "{}:":
        with pytest.raises(ValueError, match="there is no module"):
            specification.parse(text.format(path))
        return
    contender = specification.parse(text.format(path))
    assert contender.rule == optimizer
    assert contender.name == {"{}": "best", "mine:{}": "mine", "short={}": "short"}[text]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("adm", "unknown baseline 'adm'; did you mean 'adam'"),
        ("adam@", "has an empty budget"),
        ("adam@many", "unknown budget @many; use @1 "),
        ("=adam", "has an empty name"),
        ("celo:nowhere.state", "there is no weights file nowhere.state"),
        ("celo:nowhere.state@3", "leave out @3"),
        ("nowhere:tx", "there is no module nowhere and no such file"),
        (f"{OWN}:nothing", "the module has no nothing"),
        (f"{OWN}:TASK", "is a FixedTask, no function and no Baseline"),
        (f"{OWN}:no_rule", "must take num_steps, it takes: learning_rate"),
        ("velo@3", "leave out @3"),
    ],
)
def test_mistakes_get_one_line(text, message):
    with pytest.raises(ValueError, match=r"optimizer|baseline|budget|weights") as error:
        specification.parse(text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_reference_joins_unless_it_is_there_whatever_its_budget():
    def names(*texts):
        return [contender.name for contender in specification.contenders(texts, num_rates=5)]

    assert names("prodigy") == ["prodigy", "adam"]
    assert names("adam@25", "prodigy") == ["adam@25", "prodigy"]
    assert names("mine=adam@25") == ["mine"]
    with pytest.raises(ValueError, match="two optimizers are called 'a'"):
        names("a=adam", "a=sgd")


def test_suites_tasks_and_a_users_own():
    assert [task.name for task in suites.resolve("demo")] == [
        "autoencoder_flower_small", "mlp_breast_cancer", "transformer_source_small"
    ]  # fmt: skip
    assert [task.name for task in suites.resolve("vit_china, mlp_breast_cancer")] == ["vit_china", "mlp_breast_cancer"]
    assert suites.resolve(SUITE) == suites.resolve(f"{OWN}:own_task") == [TASK]
    for text, message in {
        "demmo": "unknown suite 'demmo'; did you mean 'demo'",
        "": "suite is empty",
        "demo,mlp_breast_cancer": "two tasks called 'mlp_breast_cancer'",
        f"{OWN}:SUITE": "must be a FixedTask or several, got str",
    }.items():
        with pytest.raises(ValueError, match=re.escape(message)):
            suites.resolve(text)


def test_a_module_that_fails_to_import_says_so(tmp_path, monkeypatch):
    (tmp_path / "broken_module_of_mine.py").write_text("import nothing_of_this_name\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="importing it failed: No module named 'nothing_of_this_name'"):
        specification.parse("broken_module_of_mine:tx")
    sys.modules.pop("broken_module_of_mine", None)


def test_the_reference_is_adam_alone():
    assert specification.is_reference(specification.parse("adam@3"))
    assert not specification.is_reference(specification.parse("adam_cosine"))
    assert BASELINES[specification.REFERENCE].name == "adam"
