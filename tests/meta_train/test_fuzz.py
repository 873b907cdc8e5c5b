"""Damaged and hostile settings, logs and checkpoints of a run: refused in a line, quickly, in bounded memory."""

import json
import shutil
import tarfile

import fsspec
import jax
import pytest
from rich.console import Console

from meta_train import checkpoint, learner, run_folder, run_log
from meta_train.checkpoint import CheckpointError, Checkpoints
from meta_train.executor import WorkerStates
from meta_train.mirror import Mirror
from meta_train.run import run
from meta_train.run_folder import RunFolderError
from tests.meta_train.settings import TINY_FULL, with_execution
from tests.mutation import WATCH, mutations

FEW_AND_MANY = [100, pytest.param(10_000, marks=pytest.mark.slow)]


def refused(kind, action):
    """The message of a refusal, which has to be one line of bounded length; None if there was none."""
    try:
        action()
    except kind as error:
        message = str(error)
        assert "\n" not in message and len(message) < 20_000
        return message
    return None


@pytest.mark.parametrize("number", FEW_AND_MANY)
def test_mutated_settings_are_refused_in_a_line(tmp_path, number):
    run_folder.prepare(tmp_path / "run", TINY_FULL, resume=False)
    path = tmp_path / "run" / "settings.json"
    same, num_refused = json.loads(path.read_text()), 0
    with WATCH.all_of_them():
        for data in mutations([path.read_bytes()], number):
            path.write_bytes(data)
            with WATCH.bounded(data):
                message = refused(RunFolderError, lambda: run_folder.prepare(tmp_path / "run", TINY_FULL, resume=True))
            num_refused += message is not None
            assert message is None or str(tmp_path / "run") in message
            if message is None:  # what a resume may change, or nothing
                found = json.loads(data)
                assert all(found.get(name, same[name]) == same[name] for name in ("seed", "num_workers", "estimator"))
    assert num_refused > 0.8 * number


@pytest.mark.parametrize("number", FEW_AND_MANY)
def test_a_mutated_log_loses_damaged_lines_alone(tmp_path, number):
    lines = [json.dumps({"step": step, "loss": -0.5, "families": ["MLP"]}).encode() for step in range(20)]
    with WATCH.all_of_them():
        for data in mutations([b"\n".join(lines) + b"\n"], number):
            (tmp_path / "metrics.jsonl").write_bytes(data)
            with WATCH.bounded(data):
                run_log._forget(tmp_path / "metrics.jsonl", 10)
            kept = [line.get("step") for line in run_log.read_metrics(tmp_path)]
            assert all(isinstance(step, int) and step < 10 for step in kept)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run's folder with one checkpoint and its manifest, and the state in it."""
    folder = tmp_path_factory.mktemp("whole")
    state = learner.init(TINY_FULL.outer.build(), TINY_FULL.optimizer.init(jax.random.key(0)))
    checkpoints = Checkpoints(folder / "checkpoints", TINY_FULL)
    checkpoints.save(state._replace(step=1), WorkerStates([1, 1], [(), ()], {}), wait=True)
    checkpoints.close()
    return folder, state


def restored(folder, state):
    checkpoints = Checkpoints(folder / "checkpoints", TINY_FULL)
    try:
        return checkpoints.restore(state)
    finally:
        checkpoints.close()


@pytest.mark.parametrize("number", FEW_AND_MANY)
def test_mutated_manifests_are_refused_in_a_line(whole, tmp_path, number):
    shutil.copytree(whole[0], tmp_path / "run")
    path = tmp_path / "run" / "manifests" / "1.json"
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints", TINY_FULL)
    with WATCH.all_of_them():
        for data in mutations([path.read_bytes()], number):
            path.write_bytes(data)
            with WATCH.bounded(data):
                message = refused(CheckpointError, lambda: checkpoints._read_manifest(1))
            assert message is None or str(path) in message
    checkpoints.close()


@pytest.mark.parametrize("number", [10, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_checkpoint_whose_files_are_mutated_is_never_read(whole, tmp_path, number):
    """The digests in the manifest find every change before Orbax sees the file."""
    folder, state = whole
    shutil.copytree(folder, tmp_path / "run")
    place = tmp_path / "run" / "checkpoints" / "1"
    files = [path for path in place.rglob("*") if path.is_file() and path.stat().st_size]
    for index, data in enumerate(mutations([path.read_bytes() for path in files], number)):
        path = files[index % len(files)]
        before = path.read_bytes()
        if data == before:
            continue
        path.write_bytes(data)
        message = refused(CheckpointError, lambda: restored(tmp_path / "run", state))
        assert message is not None and "is damaged" in message and "delete" in message
        path.write_bytes(before)
    assert restored(tmp_path / "run", state)[0].step == 1


def test_metadata_that_orbax_refuses_to_open_are_named(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "1" / "_CHECKPOINT_METADATA").write_text("true")
    with pytest.raises(CheckpointError, match=r"checkpoints/1 is damaged \(_CHECKPOINT_METADATA\); delete .* only one"):
        restored(tmp_path / "run", whole[1])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # orbax leaves an event loop behind
@pytest.mark.slow  # such a file can bring down the native reader, and the process with it
@pytest.mark.parametrize("number", [10, 1000])
def test_a_checkpoint_with_forged_digests_is_refused_or_has_other_values(whole, tmp_path, number):
    folder, state = whole
    shutil.copytree(folder, tmp_path / "run")
    manifest = tmp_path / "run" / "manifests" / "1.json"
    content = json.loads(manifest.read_text())
    place = tmp_path / "run" / "checkpoints" / "1"
    files = [path for path in place.rglob("*") if path.is_file() and path.stat().st_size]
    num_refused = 0
    with WATCH.all_of_them():
        for index, path in enumerate(files * (number // len(files) + 1)):
            before = path.read_bytes()
            (data,) = mutations([before], 1, seed=index)
            path.write_bytes(data)
            manifest.write_text(json.dumps(content | {"files": checkpoint._digests(place)}))
            with WATCH.bounded(data):
                message = refused(CheckpointError, lambda: restored(tmp_path / "run", state))
            num_refused += message is not None
            path.write_bytes(before)
    assert num_refused > 0


def test_a_mirror_that_holds_rubbish_is_refused_in_a_line(tmp_path):
    store = fsspec.filesystem("memory")
    store.pipe_file("/rubbish/settings.json", b"{")
    store.pipe_file("/rubbish/checkpoint-00000001.tar", b"no archive")
    for name in ("notes.tar", "checkpoint-best.tar", "checkpoint-2.tar.part"):  # none of the mirror's objects
        store.pipe_file(f"/rubbish/{name}", b"")
    with pytest.raises(RunFolderError, match=r"mirror memory://rubbish: checkpoint-00000001.tar is damaged"):
        Mirror("memory://rubbish").fetch(tmp_path / "run")
    store.rm_file("/rubbish/checkpoint-00000001.tar")
    settings = with_execution(TINY_FULL, mirror="memory://rubbish")
    with pytest.raises(RunFolderError, match=r"settings.json is damaged"):
        run(settings, tmp_path / "other", resume=True, console=Console(quiet=True))


def test_a_mirror_can_not_write_outside_of_the_folder(tmp_path):
    (tmp_path / "evil").write_text("evil")
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        archive.add(tmp_path / "evil", "../escaped")
    store = fsspec.filesystem("memory")
    store.pipe_file("/evil/settings.json", b"{}")
    store.pipe_file("/evil/checkpoint-00000001.tar", (tmp_path / "evil.tar").read_bytes())
    with pytest.raises(RunFolderError, match=r"is damaged: .*outside"):
        Mirror("memory://evil").fetch(tmp_path / "run")
    assert not (tmp_path / "escaped").exists()
