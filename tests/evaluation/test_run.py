import io
import re
from html.parser import HTMLParser

import jax
import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from evaluation import run, runner
from evaluation.settings import Evaluation
from tests.evaluation.runs import TASK, ScaledSGD

SETTINGS = Evaluation(
    baselines=("adam", "prodigy_cosine"), num_seeds=2, num_rates=3, num_checkpoints=3, num_valid_batches=2
)
META_TRAINING = [(step, -step / 10) for step in range(5)]


@pytest.fixture(autouse=True)
def tiny_suite(monkeypatch):
    monkeypatch.setattr(run, "get_suite", lambda name: [TASK])


def _evaluate(out, optimizers=None):
    """(report, what the terminal showed)"""
    optimizer = ScaledSGD()
    theta = optimizer.init(jax.random.key(0))
    screen = io.StringIO()
    path = run.evaluate(
        SETTINGS,
        {"learned": (optimizer, theta), "odd & <name>": (optimizer, theta)} if optimizers is None else optimizers,
        out,
        notes=["Little can be <said>."],
        meta_training=META_TRAINING,
        console=Console(file=screen, width=100),
    )
    return path, screen.getvalue()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "get_suite", lambda name: [TASK])
        return out, *_evaluate(out)


def test_every_asked_for_run_is_on_disk_once(finished):
    out, *_ = finished
    frame = pd.read_parquet(out / "curves")
    counts = frame[frame.step == 1].groupby("optimizer").size().to_dict()
    # Adam: 3 rates on 1 tuning seed, then 2 reported; the others: 1 + 2.
    assert counts == {"adam": 5, "prodigy_cosine": 3, "learned": 3, "odd & <name>": 3}
    assert set(frame.groupby("key").size()) == {TASK.num_steps}
    reported = frame.query("optimizer == 'adam' and seed < 10_000")
    assert len(set(reported["hyperparameters"])) == 1


def test_the_terminal_shows_every_optimizer_and_the_path(finished):
    _, path, screen = finished
    assert all(name in screen for name in ("learned", "odd & <name>", "adam", "prodigy_cosine"))
    assert f"report: {path}" in screen


def test_an_interrupted_evaluation_goes_on_and_gives_the_same_report(finished, tmp_path, monkeypatch):
    num_runs = 0
    real_run = runner.run

    def counting_run(task, contender, lanes, **options):
        nonlocal num_runs
        if num_runs == 4:
            raise KeyboardInterrupt
        num_runs += 1
        return real_run(task, contender, lanes, **options)

    monkeypatch.setattr(runner, "run", counting_run)
    with pytest.raises(KeyboardInterrupt):
        _evaluate(tmp_path)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "curves").iterdir()}
    assert before
    num_runs = -100
    path, _ = _evaluate(tmp_path)
    assert all(file.stat().st_mtime_ns == time for file, time in before.items())
    assert _without_times(path.read_text()) == _without_times(finished[1].read_text())
    num_runs = 4  # the next call of the runner would raise
    assert _evaluate(tmp_path)[0].read_text() == path.read_text()


def _without_times(page):
    return re.sub(r"<h2>What it cost</h2>.*?</table>", "", page, flags=re.DOTALL)


VOID = {"meta", "br", "line", "path", "use", "rect", "img", "link"}


class _Checker(HTMLParser):
    """Fails on tags that don't nest; keeps the addresses."""

    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href", "action")]

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_is_whole_and_reaches_for_nothing_outside_itself(finished):
    page = finished[1].read_text()
    checker = _Checker()
    checker.feed(page)
    assert not checker.open
    assert all(address.startswith("#") for address in checker.addresses)
    assert not re.search(r"https?://|@import|url\((?!#)", page)
    text = " ".join(checker.text)
    for expected in ("odd & <name>", "Little can be <said>.", "Meta-training", "tiny", "Sensitivity", "What ran"):
        assert expected in text
    assert page.count("<svg role=") == 3  # the meta-loss, one training panel, one sensitivity panel


def test_baselines_alone_make_a_report(finished, tmp_path):
    page = _evaluate(tmp_path, {})[0].read_text()
    assert "no learned optimizer took part" in page


def test_a_learned_optimizer_may_not_take_a_baselines_name(tmp_path):
    with pytest.raises(ValueError, match="optimizer 'adam' has the name of a baseline"):
        _evaluate(tmp_path, {"adam": (ScaledSGD(), {"rate": np.float32(0.1)})})


def test_an_unwritable_folder_is_refused_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "run", None)
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OSError, match="can't write curves to"):
        _evaluate(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "kept"
