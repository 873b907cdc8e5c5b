import dataclasses
import pickle
import re
import sys

import jax
import pytest

import velo
from configs import evaluation_names
from configs.evaluation_names import NamedEvaluation, parse_contender, parse_contenders, parse_tasks
from evaluation import curve_key
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
    contender = parse_contender(text, num_rates=7)
    assert isinstance(contender.optimizer, Baseline)
    assert (contender.name, contender.optimizer.name, contender.tuner) == (name, rule, tuner)


@pytest.mark.parametrize(("text", "name"), [("velo", "velo"), ("untrained", "untrained"), ("ours=velo", "ours")])
def test_learned_optimizers_that_need_no_file(text, name):
    contender = parse_contender(text)
    assert isinstance(contender.optimizer, velo.VeLO) and contender.is_learned
    assert contender.name == name


def test_numbers_of_a_users_function_are_its_hyperparameters():
    baseline = parse_contender(f"{OWN}:own_sgd").optimizer
    assert isinstance(baseline, Baseline)
    assert dict(baseline.defaults) == {"learning_rate": 0.1}
    assert [name for name, _ in baseline.space] == ["learning_rate"]
    baseline.bind({}, 10).init({})


@pytest.mark.parametrize("text", ["{}", "{}:", "mine:{}", "short={}"])
def test_weights_files_are_learned_optimizers(tmp_path, text):
    optimizer = velo.VeLO(lstm_size=2, num_mixtures=2)
    path = tmp_path / "best.velo"
    velo.save_weights(path, optimizer, optimizer.init(jax.random.key(0)))
    if text == "{}:":
        with pytest.raises(ValueError, match="there is no module"):
            parse_contender(text.format(path))
        return
    contender = parse_contender(text.format(path))
    assert contender.optimizer == optimizer
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
        parse_contender(text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_reference_joins_unless_it_is_there_whatever_its_budget():
    def names(*texts):
        return [contender.name for contender in parse_contenders(texts, num_rates=5)]

    assert names("prodigy") == ["prodigy", "adam"]
    assert names("adam@25", "prodigy") == ["adam@25", "prodigy"]
    assert names("mine=adam@25") == ["mine"]
    with pytest.raises(ValueError, match="two optimizers are called 'a'"):
        names("a=adam", "a=sgd")


def test_suites_tasks_and_a_users_own():
    assert [task.name for task in parse_tasks("demo")] == [
        "autoencoder_flower_small", "mlp_breast_cancer", "transformer_source_small"
    ]  # fmt: skip
    assert [task.name for task in parse_tasks("vit_china, mlp_breast_cancer")] == ["vit_china", "mlp_breast_cancer"]
    assert parse_tasks(SUITE) == parse_tasks(f"{OWN}:own_task") == [TASK]
    for text, message in {
        "demmo": "unknown suite 'demmo'; did you mean 'demo'",
        "": "suite '' names no task; known suites: ",
        "demo,mlp_breast_cancer": "two tasks called 'mlp_breast_cancer'",
        f"{OWN}:SUITE": "must be a FixedTask or several, got str",
    }.items():
        with pytest.raises(ValueError, match=re.escape(message)):
            parse_tasks(text)


def test_a_module_that_fails_to_import_says_so(tmp_path, monkeypatch):
    (tmp_path / "broken_module_of_mine.py").write_text("import nothing_of_this_name\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="importing it failed: No module named 'nothing_of_this_name'"):
        parse_contender("broken_module_of_mine:tx")
    sys.modules.pop("broken_module_of_mine", None)


def test_the_reference_is_adam_alone():
    assert evaluation_names.is_reference(parse_contender("adam@3"))
    assert not evaluation_names.is_reference(parse_contender("adam_cosine"))
    assert BASELINES[evaluation_names.REFERENCE].name == "adam"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"optimizers": ("adam", "adam")}, "optimizers must differ from each other, got adam, adam"),
        ({"num_seeds": 0}, r"num_seeds must be in \[1, 10000\], got 0"),
        ({"num_rates": 1}, r"num_rates must be in \[2, 1000\], got 1"),
        ({"steps_scale": 0.0}, r"steps_scale must be in \(0, 1000\], got 0\.0"),
        ({"steps_scale": float("nan")}, "steps_scale"),
    ],
)
def test_bad_settings_get_one_line_that_names_value_and_range(fields, message):
    with pytest.raises(ValueError, match=message) as error:
        NamedEvaluation(**fields)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"suite": "dmeo"}, "unknown suite 'dmeo'; did you mean 'demo'?"),
        ({"optimizers": ("adam", "adam_cosin")}, "unknown baseline 'adam_cosin'; did you mean 'adam_cosine'?"),
    ],
)
def test_names_are_resolved_when_asked_and_not_before(fields, message):
    named = NamedEvaluation(**fields)
    with pytest.raises(ValueError, match=re.escape(message)):
        named.resolve()


def test_names_resolve_to_values():
    named = NamedEvaluation(suite=SUITE, optimizers=("prodigy", "mine=adam@3"), steps_scale=0.5, num_seeds=7, stretch=2)
    evaluation = named.resolve()
    assert [contender.name for contender in evaluation.contenders] == ["prodigy", "mine"]
    assert (evaluation.reference, evaluation.title) == ("mine", SUITE)
    assert evaluation.tasks == (dataclasses.replace(TASK, num_steps=6),)
    assert (evaluation.num_seeds, evaluation.stretch) == (7, 2)
    (tiny,) = NamedEvaluation(suite=SUITE, steps_scale=0.001).resolve().tasks
    assert tiny.num_steps == 1


@pytest.mark.parametrize("name", ["own_sgd", "own_lambda"])
def test_a_users_function_travels_by_reference_and_gives_equal_baselines(name):
    contender, other = (parse_contender(f"{OWN}:{name}") for _ in range(2))
    assert contender.optimizer == other.optimizer
    assert pickle.loads(pickle.dumps(contender)).optimizer == contender.optimizer
    assert curve_key.sources(TASK, contender)[-1] == OWN
