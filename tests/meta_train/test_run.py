"""Whole runs in this process: resume to the bit, folders that are refused, checkpoints that are damaged."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from rich.console import Console

import velo
from meta_train import checkpoint, run_folder
from meta_train.run import run
from meta_train.run_log import read_metrics
from tests.meta_train.settings import TINY, TINY_FULL, with_execution

QUIET = Console(quiet=True)


def theta_digest(path):
    return velo.weights_info(path).digest


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    run(TINY, out, console=QUIET)
    return out


def test_a_run_leaves_weights_that_load_and_a_log(finished):
    optimizer, theta = velo.load_weights(finished / "weights.velo")
    assert optimizer == TINY.optimizer
    assert all(np.all(np.isfinite(leaf)) for leaf in theta["bank"][0].values())
    lines = read_metrics(finished)
    assert [line["step"] for line in lines] == [0, 1, 2, 3]
    assert all(line["num_inner_steps"] == 2 * 2 * 2 * 3 for line in lines)
    assert list((finished / "tensorboard").iterdir())


def test_k_and_k_steps_are_2k_steps_to_the_bit(finished, tmp_path):
    run(dataclasses.replace(TINY, num_steps=2), tmp_path / "run", console=QUIET)
    path = run(TINY, tmp_path / "run", resume=True, console=QUIET)
    assert theta_digest(path) == theta_digest(finished / "weights.velo")
    for ours, theirs in zip(read_metrics(tmp_path / "run"), read_metrics(finished), strict=True):
        assert ours["loss"] == theirs["loss"]


def test_work_after_the_last_checkpoint_is_done_again(finished, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    shutil.rmtree(out / "checkpoints" / "4")
    with (out / "metrics.jsonl").open("a") as log:
        log.write('{"step": 4, "lo')  # as a crash leaves it
    path = run(TINY, out, resume=True, console=QUIET)
    assert theta_digest(path) == theta_digest(finished / "weights.velo")
    assert [line["step"] for line in read_metrics(out)] == [0, 1, 2, 3]


def test_an_existing_folder_is_refused_and_left_alone(finished):
    before = sorted(path.stat().st_mtime_ns for path in finished.rglob("*"))
    with pytest.raises(run_folder.RunFolderError, match="--resume"):
        run(TINY, finished, console=QUIET)
    with pytest.raises(run_folder.RunFolderError, match=r"seed was 0 and is now 1"):
        run(dataclasses.replace(TINY, seed=1), finished, resume=True, console=QUIET)
    with pytest.raises(run_folder.RunFolderError, match=r"estimator.type was 'PES' and is now 'FullES'"):
        run(TINY_FULL, finished, resume=True, console=QUIET)
    assert sorted(path.stat().st_mtime_ns for path in finished.rglob("*")) == before


def test_a_resume_needs_a_run(tmp_path):
    with pytest.raises(run_folder.RunFolderError, match="holds no run to resume"):
        run(TINY, tmp_path / "nothing", resume=True, console=QUIET)
    assert not (tmp_path / "nothing").exists()


def test_two_processes_never_share_a_folder(finished):
    with run_folder.locked(finished), pytest.raises(run_folder.RunFolderError, match="another process"):
        run(TINY, finished, resume=True, console=QUIET)


def test_where_the_work_runs_may_change_on_a_resume(finished):
    run_folder.prepare(finished, with_execution(TINY, num_processes=7, executor="ray"), resume=True)


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_a_damaged_checkpoint_is_named_and_nothing_is_destroyed(finished, tmp_path, damage):
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    files = [path for path in (out / "checkpoints" / "4").rglob("*") if path.is_file()]
    for path in sorted(files):
        content = bytearray(path.read_bytes())
        if damage == "truncate":
            path.write_bytes(content[: len(content) // 2])
        elif damage == "flip" and "d" in path.parts:
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
        elif damage == "remove":
            path.unlink()
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(checkpoint.CheckpointError, match=r"checkpoints/4") as error:
        run(TINY, out, resume=True, console=QUIET)
    assert "\n" not in str(error.value)
    assert {path: path.read_bytes() for path in before} == before


def test_settings_are_stored_as_plain_json(finished):
    stored = json.loads((finished / "settings.json").read_text())
    assert stored["optimizer"]["type"] == "VeLO"
    assert stored == run_folder.describe(TINY)


def test_an_estimator_of_segments_needs_a_family_for_a_whole_episode():
    with pytest.raises(ValueError, match=r"with PES family_steps must be at least 3, .* got 2"):
        dataclasses.replace(TINY, family_steps=2)
