"""A full disk under every writer of an evaluation: the path is named, and nothing that was finished is lost."""

import resource

import numpy as np
import pytest
from rich.console import Console

from evaluation import Contender, Evaluation, baselines, saved_evaluation
from evaluation.curve_store import CurveStore
from evaluation.curves import Results
from evaluation.report import writer
from evaluation.saved_evaluation import SavedEvaluation
from evaluation.settings import Procedure
from tests.evaluation.runs import TASK, curve, entry

LOSSES = np.stack([np.linspace(2.0, 1.0, 12), np.linspace(3.0, 1.0, 12)])
QUIET = Console(quiet=True)


@pytest.fixture
def full_disk():
    """A switch: no file of this process may grow while it is on."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda on: resource.setrlimit(resource.RLIMIT_FSIZE, (0 if on else hard, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def saved(*names):
    entries = tuple(entry(LOSSES, optimizer=name) for name in names)
    return SavedEvaluation("demo", Procedure(num_seeds=2), Results(("tiny",), names, "adam", entries))


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_curves_and_record_keep_what_was_there(tmp_path, full_disk):
    evaluation = Evaluation(contenders=(Contender("adam", baselines.get("adam")),), tasks=(TASK,))
    store = CurveStore(tmp_path / "curves")
    store.put("abc", curve([2.0, 1.0]))
    saved_evaluation.save(tmp_path, evaluation, saved("adam"))
    before = files(tmp_path)
    full_disk(True)
    with pytest.raises(OSError, match=rf"can't write {tmp_path}/curves/tiny-adam-abd.parquet: File too large"):
        store.put("abd", curve([2.0, 1.0]))
    with pytest.raises(OSError, match=rf"can't write {tmp_path}/evaluation.json: File too large"):
        saved_evaluation.save(tmp_path, evaluation, saved("adam", "velo"))
    full_disk(False)
    assert files(tmp_path) == before


def test_a_report_that_fails_keeps_the_last_one_and_says_how_to_write_it_again(tmp_path, full_disk):
    writer.write(tmp_path, saved("adam"), QUIET)
    before = files(tmp_path)
    full_disk(True)
    message = (
        f"the report is not whole: can't write {tmp_path}/figures/.*: File too large; the curves are in {tmp_path}"
    )
    with pytest.raises(OSError, match=f"{message}: velo-evaluate --report {tmp_path}"):
        writer.write(tmp_path, saved("adam", "velo"), QUIET)
    full_disk(False)
    assert files(tmp_path) == before
