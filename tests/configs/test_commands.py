import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

import velo
from configs import evaluate_command, meta_train_command, output_folder
from configs.exit_code import exit_code


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name, value in os.environ.items():  # whatever a command sets in its environment ends with the test
        monkeypatch.setenv(name, value)


def contents(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in Path(folder).rglob("*")}


@pytest.fixture
def taken(monkeypatch):
    """A folder with somebody's file, a file in the way of a folder, and a run with other settings."""
    Path("taken").mkdir()
    Path("taken/notes.txt").write_text("mine")
    Path("file").write_text("no folder")
    Path("other").mkdir()
    Path("other/settings.json").write_text(json.dumps({"type": "MetaTraining", "seed": 77}))
    Path("broken.velo").write_bytes(b"not weights")
    optimizer = velo.VeLO(lstm_size=2, num_mixtures=2)
    velo.save_weights("adam.velo", optimizer, optimizer.init(jax.random.key(0)))
    velo.save_weights("good.velo", optimizer, optimizer.init(jax.random.key(0)))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    Path("my_module.py").write_text(MY_MODULE)
    Path("broken_module.py").write_text("import nothing_of_this_name")
    sys.path.append(str(Path.cwd()))
    importlib.invalidate_caches()
    mine = importlib.import_module("my_module").Mine()
    velo.save_weights("own.velo", mine, mine.init(None))
    sys.path.pop()
    yield
    for name in ("my_module", "broken_module"):
        sys.modules.pop(name, None)


MY_MODULE = """
import dataclasses
import jax.numpy as jnp
import optax
import velo
from tasks.families.quadratic import Quadratic
from tasks.mixture import TaskMixture

class Thawed(velo.LearnedOptimizer):
    def init(self, key):
        return jnp.zeros(3)

    def bind(self, theta, num_steps):
        return optax.sgd(theta)

@dataclasses.dataclass(frozen=True)
class Mine(Thawed):
    num_knots: int = 3

mixture = TaskMixture(((Quadratic, 1.0),))
"""

META_TRAIN = [
    (["dmo"], "did you mean 'demo'?"),
    (["demo", "--optimizer.lstm-sze", "3"], "did you mean --optimizer.lstm-size?"),
    (["demo", "--num-steps", "ten"], "--num-steps takes INT, got ten"),
    (["demo", "--optimizer.lstm-size", "-3"], "lstm_size must be at least 1, got -3"),
    (["demo", "--estimator", "PESS"], "did you mean PES?"),
    (["demo", "--mixture", "smal"], "unknown mixture 'smal'"),
    (["demo", "--out", "file/run"], "file"),
    (["demo", "--out", "file"], "file exists already"),
    (["demo", "--out", "taken"], "taken exists already"),
    (["demo", "--resume"], "there is no runs/demo to resume"),
    (["demo", "--optimizer", "VeLOO"], "unknown optimizer 'VeLOO'; did you mean 'VeLO'?"),
    (["demo", "--optimizer", "nowhere:Mine"], "nowhere:Mine: there is no module nowhere"),
    (["demo", "--optimizer", "my_module:Mnie"], "my_module:Mnie: my_module has no Mnie; did you mean Mine?"),
    (["demo", "--optimizer", "my_module:mixture"], "my_module:mixture is no velo.LearnedOptimizer, but a TaskMixture"),
    (["demo", "--optimizer", "my_module:Thawed"], "Thawed can't be saved: make it a frozen dataclass"),
    (["demo", "--optimizer", "my_module:Mine", "--optimizer.lstm-size", "3"], "did you mean --optimizer.num-knots?"),
    (["demo", "--mixture", "my_module:Mine"], "my_module:Mine is no tasks.mixture.Mixture, but a Mine"),
    (["demo", "--mixture", "broken_module:mixture"], "importing broken_module failed"),
    (["demo", "--validation.suite", "meta_vlid"], "unknown suite 'meta_vlid'; did you mean 'meta_valid'?"),
    (["demo", "--validation.suite", "my_module:mixture"], "holds no FixedTasks, but a TaskMixture"),
    (["demo", "--curriculum.mixtures", "small", "broda"], "unknown mixture 'broda'; did you mean 'broad'?"),
    (["demo", "--resume", "--out", "taken"], "taken holds no run to resume"),
    (["demo", "--resume", "--out", "other"], "other belongs to a run with other settings"),
]

EVALUATE = [
    (["dmo"], "did you mean 'demo'?"),
    (["demo", "--weights", "nowhere.velo"], "nowhere.velo"),
    (["demo", "--weights", "broken.velo"], "broken.velo"),
    (["demo", "--weights", "adam.velo"], "would be reported as 'adam', the name of a baseline"),
    (["demo", "--weights", "good.velo", "--out", "file"], "file"),
    (["demo", "--weights", "own.velo"], "pass it, velo.load_weights(path, architecture=Mine), or velo-evaluate --arch"),
    (["demo", "--weights", "own.velo", "--architecture", "my_module:mixture"], "is no class of velo.LearnedOptimizer"),
    (["demo", "--num-seeds", "0", "--weights", "broken.velo"], "num_seeds must be in [1, 10000], got 0"),
    (["demo", "--suite", "demmo", "--weights", "broken.velo"], "did you mean 'demo'?"),
    (["--suite", "nowhere:TASKS"], "there is no module nowhere"),
    (["--optimizers", "adam,adm"], "unknown baseline 'adm'; did you mean 'adam'"),
    (["--optimizers", "celo:nowhere.state"], "there is no weights file nowhere.state"),
    (["--optimizers=adam@lots", "--seeds", "2"], "unknown budget @lots"),
    (["--compare", "taken", "other"], "taken holds no evaluation"),
    (["--report", "taken"], "taken holds no evaluation"),
]


@pytest.mark.usefixtures("taken")
@pytest.mark.parametrize(
    ("command", "argv", "message"),
    [
        *((meta_train_command, *mistake) for mistake in META_TRAIN),
        *((evaluate_command, *mistake) for mistake in EVALUATE),
    ],
)
def test_a_mistake_gets_one_line_and_touches_nothing(command, argv, message, capsys):
    before = contents(".")
    assert command.main(argv) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"{command.PROG}: ")
    assert printed.err.count("\n") == 1
    assert message in printed.err
    assert contents(".") == before


@pytest.mark.parametrize(("module", "encoding"), [("meta_train", "ascii"), ("evaluation", "utf-8")])
def test_module_is_the_command(module, encoding):
    done = subprocess.run(
        [sys.executable, "-m", module, "demo", "stray"],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.endswith(": unrecognized options: stray\n")
    assert done.stderr.count("\n") == 1


def test_default_folder_is_the_first_free_one():
    assert output_folder.new("demo") == Path("runs/demo")
    Path("runs/demo").mkdir(parents=True)
    assert output_folder.new("demo") == Path("runs/demo-2")
    assert output_folder.latest("demo") == Path("runs/demo")
    Path("runs/demo-2").mkdir()
    assert output_folder.new("demo") == Path("runs/demo-3")
    assert output_folder.latest("demo") == Path("runs/demo-2")


def test_short_forms_are_spelled_out():
    assert evaluate_command.expand(["--optimizers", "velo,adam@25", "--seeds", "5"], "standard") == [
        "standard", "--optimizers", "velo", "adam@25", "--num-seeds", "5"
    ]  # fmt: skip
    assert evaluate_command.expand(["demo", "--optimizers=adam,sgd", "--out", "a,b"], "standard") == [
        "demo", "--optimizers", "adam", "sgd", "--out", "a,b"
    ]  # fmt: skip
    assert evaluate_command.expand(["demo", "--baselines", "adam", "--untrained"], "standard") == [
        "demo", "--optimizers", "adam", "--untrained"
    ]  # fmt: skip
    assert evaluate_command.expand([], "standard") == []
    assert evaluate_command.expand(["--help"], "standard") == ["--help"]


def test_weights_have_short_names_that_differ():
    paths = [Path("runs/demo/weights.velo"), Path("best.velo"), Path("old/best.velo"), Path("more/best.velo")]
    assert evaluate_command.names(paths) == ["demo", "best", "best#2", "best#3"]


def test_a_short_meta_training_is_called_short():
    few, many = evaluate_command.notes({"few": {"outer_steps": 30}, "many": {"outer_steps": 5000}})
    assert few.startswith("few was meta-trained for 30 outer steps. So few show")
    assert many == "many was meta-trained for 5000 outer steps."
    assert evaluate_command.notes({"released": {}}) == []


def test_mistakes_of_ours_keep_their_traceback():
    def broken():
        raise ValueError("shapes don't fit")

    with pytest.raises(ValueError, match="shapes"):
        exit_code("velo", broken, mistakes=())


def test_interrupt_is_130(capsys):
    def interrupted():
        raise KeyboardInterrupt

    assert exit_code("velo", interrupted, mistakes=()) == 130
    assert capsys.readouterr().err == "velo: interrupted\n"
