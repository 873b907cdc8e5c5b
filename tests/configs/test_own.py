"""One's own optimizer and tasks by the commands, in a folder where every name of our packages is somebody else's."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import velo
from meta_train.run_log import read_events, read_metrics

ROOT = Path(__file__).parents[2]
NAMES = ("configs", "evaluation", "meta_train", "tasks")
SCRIPTS = {
    "velo-meta-train": "from configs.meta_train_command import main",
    "velo-evaluate": "from configs.evaluate_command import main",
}
OWN = ["--optimizer=own_optimizer:Schedule", "--mixture=own_task:mixture", "--validation.suite=own_task:SUITE"]
TINY = ["--num-workers=2", "--family-pool=1", "--estimator.num-pairs=2", "--episodes.segment-steps=5"]
TINY += ["--episodes.min-steps=5", "--episodes.max-steps=10", "--validation.every=2", "--validation.steps-scale=0.01"]


@pytest.fixture
def folder(tmp_path):
    for name in ("own_optimizer", "own_task"):
        shutil.copy(ROOT / "examples" / f"{name}.py", tmp_path)
    for name in NAMES:
        foreign(tmp_path, name)
    return tmp_path


def foreign(folder, name):
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(f"raise RuntimeError('{name} is somebody else's')")


def typed(folder, *words, path=()):
    """What a command says. An installed script has its own folder first on the path, and not the working one."""
    name, *rest = words
    start = ["-P", "-c", f"import sys; {SCRIPTS[name]}; sys.exit(main())"] if name in SCRIPTS else name.split()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*path, str(ROOT)])}
    return subprocess.run(
        [sys.executable, *start, *rest], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def done(*arguments, **options):
    found = typed(*arguments, **options)
    assert found.returncode == 0, found.stderr
    return found


@pytest.mark.xdist_group("ray")
def test_own_classes_are_meta_trained_on_ray_resumed_and_evaluated(folder):
    """Workers of Ray import the classes themselves; where the work runs changes no bit."""
    pytest.importorskip("ray")
    command = ["velo-meta-train", "laptop", *OWN, *TINY]
    done(folder, *command, "--num-steps=4", "--execution.executor=local", "--out=whole")
    done(folder, *command, "--num-steps=2", "--out=run")
    assert {line["event"] for line in read_events(folder / "run")} == {"worker_started"}
    done(folder, *command, "--num-steps=4", "--execution.executor=local", "--out=run", "--resume")
    assert [line["families"] for line in read_metrics(folder / "run")] == [["Sines", "Sines"]] * 4
    infos = [velo.weights_info(folder / name / "weights.velo") for name in ("whole", "run")]
    assert infos[0].digest == infos[1].digest
    assert infos[1].architecture == infos[1].record["settings"]["optimizer"]["type"] == "own_optimizer:Schedule"
    assert infos[1].record["settings"]["mixture"] == "own_task:mixture"
    sizes = ["--steps-scale=0.01", "--num-seeds=1", "--num-rates=2", "--num-checkpoints=1", "--optimizers=adam"]
    weights = ["--weights=run/weights.velo", "--architecture=own_optimizer:Schedule"]
    done(folder, "velo-evaluate", "--suite=own_task:SUITE", *weights, *sizes, "--out=report")
    assert "sines" in (folder / "report" / "report.md").read_text()


def test_a_task_of_ones_own_is_tried_beside_a_folder_of_tasks(folder):
    found = done(folder, "-m velo", "train", "own_task:Sines", "--num-steps=2", "--weights=untrained")
    assert "2 of 2 steps" in found.stdout


@pytest.mark.parametrize("name", ["velo-meta-train", "velo-evaluate", "-m meta_train", "-P -m evaluation"])
def test_names_of_our_packages_in_the_working_folder_do_no_harm(folder, name):
    (folder / "evaluation.py").write_text("raise RuntimeError('somebody else ran')")  # as `python -m evaluation` would
    shutil.rmtree(folder / "meta_train")  # which `python -m meta_train` would run
    found = typed(folder, name, "demo", "stray")
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.endswith(": unrecognized options: stray\n") and found.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [["velo-evaluate"], ["velo-meta-train", "demo"], ["-m velo", "train", "mlp_flower"]])
def test_a_foreign_package_on_the_path_is_named(tmp_path, words):
    foreign(tmp_path / "theirs", "tasks")
    found = typed(tmp_path, *words, path=[str(tmp_path / "theirs")])
    assert (found.returncode, found.stdout, found.stderr.count("\n")) == (2, "", 1)
    assert f"{tmp_path / 'theirs' / 'tasks' / '__init__.py'} hides the package tasks of this inst" in found.stderr
