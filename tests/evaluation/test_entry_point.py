import io
import re
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from configs import evaluate_command
from evaluation import comparison
from evaluation import entry_point as run
from evaluation import saved_evaluation as manifest
from evaluation import training as runner
from evaluation.settings import Evaluation
from tests.evaluation.runs import SUITE, TASK, ScaledSGD

SETTINGS = Evaluation(
    suite=SUITE,
    optimizers=("adam", "sgd@1", "sgd@3"),
    num_seeds=2,
    num_rates=3,
    stretch=2,
    num_checkpoints=1,
    num_valid_batches=2,
    num_lanes=1,
)
REPORTS = ("report.html", "report.md", "results.csv", "summary.csv")


def learned():
    optimizer = ScaledSGD()
    theta = optimizer.init(jax.random.key(0))
    return {"learned": (optimizer, theta), "odd & <name>": (optimizer, {"rate": np.float32(0.2)})}


def _evaluate(out, settings=SETTINGS, optimizers=None):
    """(report, what the terminal showed)"""
    screen = io.StringIO()
    path = run.evaluate(
        settings, learned() if optimizers is None else optimizers, out, console=Console(file=screen, width=100)
    )
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
    assert manifest.is_unfinished(tmp_path, SETTINGS)
    ran = []
    real_run = runner.run

    def watched_run(task, contender, lanes, **options):
        ran.extend((contender.label, task.num_steps, lane) for lane in lanes)
        return real_run(task, contender, lanes, **options)

    monkeypatch.setattr(runner, "run", watched_run)
    _evaluate(tmp_path)
    assert len(ran) == len(set(ran))  # nothing twice
    after = list((tmp_path / "curves").glob("[!.]*"))
    assert len(after) == len(before) + len(ran) == len(list((finished[0] / "curves").glob("[!.]*")))
    assert all(file.stat().st_mtime_ns == time for file, time in before.items())
    assert not manifest.is_unfinished(tmp_path, SETTINGS)
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
    optimizer = ScaledSGD()
    _evaluate(
        out,
        Evaluation(**{**vars(SETTINGS), "optimizers": ("adam",)}),
        {"learned": (optimizer, {"rate": np.float32(0.3)})},
    )
    merged = comparison.merge(finished[0], out)
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
    assert evaluate_command.main(["--compare", str(finished[0]), str(out)]) == 0
    assert "learned (other)" in Path("runs/compare/report.md").read_text()
    assert evaluate_command.main(["--compare", str(out), str(tmp_path)]) == 2
    assert "holds no evaluation" in capsys.readouterr().err


def test_a_manifest_of_missing_curves_says_so(finished, tmp_path):
    (tmp_path / "evaluation.json").write_bytes((finished[0] / "evaluation.json").read_bytes())
    with pytest.raises(ValueError, match=r"the curve \w+ is missing from"):
        manifest.read(tmp_path)
    (tmp_path / "evaluation.json").write_text("{}")
    with pytest.raises(ValueError, match="no record of an evaluation: KeyError"):
        manifest.read(tmp_path)


def test_a_learned_optimizer_may_not_take_a_baselines_name(tmp_path):
    with pytest.raises(ValueError, match="optimizer 'adam' has the name of another"):
        _evaluate(tmp_path, optimizers={"adam": (ScaledSGD(), {"rate": np.float32(0.1)})})


def test_an_unwritable_folder_is_refused_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "run", None)
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OSError, match="can't write curves to"):
        _evaluate(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.slow
def test_ray_workers_give_the_same_report(finished, tmp_path):
    _evaluate(tmp_path, Evaluation(**{**vars(SETTINGS), "num_workers": 2}))
    assert _without_times(tmp_path)[2:] == _without_times(finished[0])[2:]
