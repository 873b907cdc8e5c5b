import contextlib
import dataclasses
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from configs import evaluate_command
from evaluation import Contender, Evaluation, LogGrid, OneShot, RandomSearch, baselines, run, saved_evaluation
from evaluation.training import Trainer
from tests.evaluation.runs import TASK, ScaledSGD

OPTIMIZER = ScaledSGD()
LEARNED = Contender("learned", OPTIMIZER, OPTIMIZER.init(jax.random.key(0)))
ADAM = Contender("adam", baselines.get("adam"), tuner=LogGrid(3))
SGD = baselines.get("sgd")
EVALUATION = Evaluation(
    contenders=(
        LEARNED,
        Contender("odd & <name>", OPTIMIZER, {"rate": np.float32(0.2)}),
        ADAM,
        Contender("sgd@1", SGD, tuner=OneShot()),
        Contender("sgd@3", SGD, tuner=RandomSearch(3)),
    ),
    tasks=(TASK,),
    num_seeds=2,
    stretch=2,
    num_checkpoints=1,
    num_valid_batches=2,
    num_lanes=1,
)
REPORTS = ("report.html", "report.md", "results.csv", "summary.csv")


def _evaluate(out, evaluation=EVALUATION):
    """(report, what the terminal showed)"""
    screen = io.StringIO()
    path = run(evaluation, out, console=Console(file=screen, width=100))
    return path, screen.getvalue()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluation")
    return out, *_evaluate(out)


def test_every_asked_for_run_is_on_disk_once_however_many_budgets_share_it(finished):
    out, *_ = finished
    frame = pd.read_parquet(out / "curves")
    counts = frame[frame.step == 1].groupby("optimizer").size().to_dict()
    # Adam: 3 rates on 1 tuning seed, 2 reported, 2 longer. SGD: the first trial of @3 is @1, and the same
    # winner is reported once. The learned ones: 1 + 2.
    winners = frame.query("optimizer == 'sgd' and seed < 10_000").hyperparameters.nunique()
    assert counts == {"adam": 7, "sgd": 3 + 2 * winners, "learned": 3, "odd & <name>": 3}
    assert set(frame.groupby("key").size()) == {TASK.num_steps, 2 * TASK.num_steps}
    longer = frame.query("num_steps == 24 and seed == 0").sort_values("step").train_loss.to_numpy()
    rate = frame.query("num_steps == 24").hyperparameters.iloc[0]
    short = frame[(frame.optimizer == "adam") & (frame.num_steps == 12) & (frame.seed == 0)]
    short = short[short.hyperparameters == rate]
    np.testing.assert_allclose(longer[:12], short.sort_values("step").train_loss.to_numpy(), rtol=1e-5)


def test_the_terminal_shows_every_optimizer_and_the_path(finished):
    _, path, screen = finished
    assert all(name in screen for name in ("learned", "odd & <name>", "adam", "sgd@1", "sgd@3"))
    assert f"report: {path}" in screen
    assert "100%" in screen


def _without_times(folder):
    """The report's files, apart from what the clock said."""
    page = re.sub(r'<section class="times">.*?</section>', "", (folder / "report.html").read_text(), flags=re.DOTALL)
    text = re.sub(r"## Time\n.*?\n## ", "## ", (folder / "report.md").read_text(), flags=re.DOTALL)
    return [page, text, *((folder / name).read_bytes() for name in REPORTS[2:])]


def test_a_killed_evaluation_goes_on_loses_nothing_and_gives_the_same_report(finished, tmp_path, monkeypatch):
    done = subprocess.run(
        [sys.executable, "-m", "tests.evaluation.killed", str(tmp_path)], check=False, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == -signal.SIGKILL
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "curves").glob("[!.]*")}
    assert len(before) == 4
    assert saved_evaluation.is_unfinished(tmp_path, EVALUATION)
    ran = []
    real_run = Trainer.run

    def watched_run(self, task, contender, lanes, **options):
        ran.extend((contender.label, task.num_steps, lane) for lane in lanes)
        return real_run(self, task, contender, lanes, **options)

    monkeypatch.setattr(Trainer, "run", watched_run)
    _evaluate(tmp_path)
    assert len(ran) == len(set(ran))  # nothing twice
    after = list((tmp_path / "curves").glob("[!.]*"))
    assert len(after) == len(before) + len(ran) == len(list((finished[0] / "curves").glob("[!.]*")))
    assert all(file.stat().st_mtime_ns == time for file, time in before.items())
    assert not saved_evaluation.is_unfinished(tmp_path, EVALUATION)
    assert _without_times(tmp_path) == _without_times(finished[0])

    reports = [(tmp_path / name).read_bytes() for name in REPORTS]
    assert evaluate_command.main(["--report", str(tmp_path)]) == 0  # the same to the byte, times included
    assert [(tmp_path / name).read_bytes() for name in REPORTS] == reports


def test_two_evaluations_are_compared(finished, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "other"
    (out / "curves").mkdir(parents=True)
    for file in (finished[0] / "curves").glob("[!.]*"):  # what both share isn't run again
        (out / "curves" / file.name).symlink_to(file)
    changed = dataclasses.replace(LEARNED, theta={"rate": np.float32(0.3)})
    _evaluate(out, dataclasses.replace(EVALUATION, contenders=(changed, ADAM)))
    merged = saved_evaluation.merge(finished[0], out)
    first = finished[0].name
    assert merged.results.optimizers == (
        f"learned ({first})",
        "odd & <name>",
        "adam",
        "sgd@1",
        "sgd@3",
        "learned (other)",
    )
    assert merged.results.reference == "adam"
    thrice = saved_evaluation.merge(finished[0], out, finished[0])  # the third adds nothing
    assert [name.split(" (")[0] for name in thrice.results.optimizers] == [
        name.split(" (")[0] for name in merged.results.optimizers
    ]
    with pytest.raises(ValueError, match="two folders or more, got 1"):
        saved_evaluation.merge(out)
    assert evaluate_command.main(["--compare", str(finished[0]), str(out)]) == 0
    assert "learned (other)" in Path("runs/compare/report.md").read_text()
    assert evaluate_command.main(["--compare", str(out), str(tmp_path)]) == 2
    assert "holds no evaluation" in capsys.readouterr().err


def test_a_saved_evaluation_of_missing_curves_says_so(finished, tmp_path):
    (tmp_path / "evaluation.json").write_bytes((finished[0] / "evaluation.json").read_bytes())
    with pytest.raises(ValueError, match=r"the curve \w+ is missing from"):
        saved_evaluation.load(tmp_path)
    (tmp_path / "evaluation.json").write_text("{}")
    with pytest.raises(ValueError, match="no record of an evaluation: KeyError"):
        saved_evaluation.load(tmp_path)


def test_an_evaluation_of_an_earlier_version_is_loaded(finished, tmp_path):
    """Its settings were names, including some that current settings no longer have."""
    content = json.loads((finished[0] / "evaluation.json").read_text())
    for name in ("contenders", "tasks"):
        del content["settings"][name]
    content["settings"] |= {"optimizers": ["adam", "gone:optimizer"], "num_rates": 3, "steps_scale": 1.0}
    (tmp_path / "evaluation.json").write_text(json.dumps(content))
    (tmp_path / "curves").symlink_to(finished[0] / "curves")
    saved = saved_evaluation.load(tmp_path)
    assert (saved.suite, saved.procedure) == ("tiny", EVALUATION.procedure)
    assert saved.results.optimizers == tuple(contender.name for contender in EVALUATION.contenders)


def test_classes_are_saved_as_module_and_attribute(finished):
    settings = json.loads((finished[0] / "evaluation.json").read_text())["settings"]
    assert [found["optimizer"] for found in settings["contenders"]] == [
        "tests.evaluation.runs:ScaledSGD", "tests.evaluation.runs:ScaledSGD", "adam", "sgd", "sgd"
    ]  # fmt: skip
    family = "tasks.families.mlp_classifier:MLPClassifier"
    assert settings["tasks"] == [{"name": "tiny", "family": family, "num_steps": TASK.num_steps}]


def test_an_unwritable_folder_is_refused_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "run", None)
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OSError, match="can't write curves to"):
        _evaluate(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.slow
def test_ray_workers_compute_every_curve_and_give_the_same_report(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "run", None)  # training in this process would fail
    _evaluate(tmp_path, dataclasses.replace(EVALUATION, num_workers=2))
    assert _without_times(tmp_path)[2:] == _without_times(finished[0])[2:]


class Killer(threading.Thread):
    """Kills `num_kills` Ray workers of this process while they compute curves."""

    def __init__(self, num_kills):
        super().__init__(daemon=True)
        self.left = num_kills

    def run(self):
        chance = random.Random(0)
        while self.left:
            time.sleep(chance.uniform(1, 4))
            busy = [number for number in _descendants() if _is_filling(number)]
            if busy:
                os.kill(chance.choice(busy), signal.SIGKILL)
                self.left -= 1


def _descendants():
    """Processes that this one started, and those that they started, and so on."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = {os.getpid()}
    while new := {number for number, parent in parents.items() if parent in found} - found:
        found |= new
    return sorted(found)


def _is_filling(number):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{number}/cmdline").read_bytes().startswith(b"ray::_fill_one")
    return False


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_killed_ray_workers_change_nothing_in_the_report(finished, tmp_path):
    killer = Killer(4)
    killer.start()
    _, screen = _evaluate(tmp_path, dataclasses.replace(EVALUATION, num_workers=2))
    assert killer.left < 4, "no worker was killed"
    assert _without_times(tmp_path)[2:] == _without_times(finished[0])[2:]
    assert "0 to go" in screen
