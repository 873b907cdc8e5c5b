"""Whole runs in this process: resume to the bit, folders that are refused, checkpoints that are damaged."""

import copy
import dataclasses
import functools
import json
import os
import resource
import shutil
import signal
import struct
import time

import jax
import numpy as np
import pytest
from rich.console import Console
from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.record_writer import masked_crc32c

import velo
from meta_train import checkpoint, executor, initial_theta, learner, run_folder, run_log
from meta_train.executor import LocalExecutor, WorkerStates
from meta_train.programs import Programs
from meta_train.run import run
from meta_train.run_log import read_events, read_metrics, read_validation
from meta_train.set_aside import NothingWorksError
from meta_train.settings import Validation
from tasks.families.quadratic import Quadratic
from tasks.mixture import TaskMixture
from tests.meta_train.settings import TINY, TINY_FULL, with_execution
from velo.architectures.velo.architecture import VeLO

QUIET = Console(quiet=True)


@pytest.fixture(scope="module", autouse=True)
def shared_programs():
    """The runs of this file trace each architecture once: programs change nothing in the result."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executor, "Programs", functools.cache(Programs))
        yield


def theta_digest(path):
    return velo.weights_info(path).digest


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    run(with_execution(TINY, mirror="memory://finished"), out, console=QUIET)
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


def test_a_terminated_run_stops_after_its_step_and_can_go_on(finished, tmp_path, monkeypatch):
    write = run_log.RunLog.write

    def terminate_after_the_second(log, step, metrics):
        write(log, step, metrics)
        if step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(run_log.RunLog, "write", terminate_after_the_second)
    run(TINY, tmp_path / "run", console=QUIET)
    assert [line["step"] for line in read_metrics(tmp_path / "run")] == [0, 1]
    monkeypatch.undo()
    path = run(TINY, tmp_path / "run", resume=True, console=QUIET)
    assert theta_digest(path) == theta_digest(finished / "weights.velo")


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
    assert stored == run_folder.describe(with_execution(TINY, mirror="memory://finished"))


class Shuffled(LocalExecutor):
    def _order(self):
        return np.random.default_rng(sum(self._steps)).permutation(self._settings.num_workers).tolist()


def test_the_order_of_the_work_changes_nothing(finished, tmp_path, monkeypatch):
    monkeypatch.setattr("meta_train.run.LocalExecutor", Shuffled)
    assert theta_digest(run(TINY, tmp_path / "run", console=QUIET)) == theta_digest(finished / "weights.velo")


def test_an_empty_folder_goes_on_from_the_mirror(finished, tmp_path):
    settings = with_execution(TINY, mirror="memory://finished")
    path = run(settings, tmp_path / "elsewhere", resume=True, console=QUIET)
    assert theta_digest(path) == theta_digest(finished / "weights.velo")
    with pytest.raises(ValueError, match="mirror memory://nothing holds no run to resume"):
        run(with_execution(TINY, mirror="memory://nothing"), tmp_path / "other", resume=True, console=QUIET)
    with pytest.raises(ValueError, match="mirror nowhere://x: Protocol not known"):
        run(with_execution(TINY, mirror="nowhere://x"), tmp_path / "other", resume=True, console=QUIET)
    with pytest.raises(run_folder.RunFolderError, match="mirror nowhere://x: Protocol not known"):
        run(with_execution(TINY, mirror="nowhere://x"), tmp_path / "new", console=QUIET)
    assert not (tmp_path / "new").exists()


@pytest.fixture
def full_disk():
    """A switch: no file of this process may grow while it is on."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda on: resource.setrlimit(resource.RLIMIT_FSIZE, (0 if on else hard, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def tensorboard_scalars(folder):
    """(name, step, value) in the only event file of the folder, the first two events being no scalars."""
    (path,) = folder.iterdir()
    content, place, events = path.read_bytes(), 0, []
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        (checksum,) = struct.unpack_from("<I", content, place + 12 + length)
        events.append(Event.FromString(content[place + 12 : place + 12 + length]))
        assert masked_crc32c(content[place + 12 : place + 12 + length]) == checksum
        place += 16 + length
    assert events[0].file_version == "brain.Event:2" and events[1].session_log.status == 1
    return [(value.tag, event.step, value.simple_value) for event in events[2:] for value in event.summary.value]


def test_a_full_disk_costs_no_line_and_no_earlier_checkpoint(tmp_path, full_disk):
    events = []
    checkpoints = checkpoint.Checkpoints(
        tmp_path / "checkpoints", TINY_FULL, report=lambda kind, **facts: events.append(kind)
    )
    log = run_log.RunLog(tmp_path, 0)
    state = learner.init(TINY_FULL.outer.build(), TINY_FULL.optimizer.init(jax.random.key(0)))
    workers = WorkerStates([1, 1], [(), ()], {})
    checkpoints.save(state._replace(step=1), workers, wait=True)
    full_disk(True)
    for step in range(100):  # more than a writer of its own would queue
        log.write(step, {"loss": 1.0 + step, "families": ["MLPClassifier"]})
    with pytest.raises(OSError, match=r"."):
        checkpoints.save(state._replace(step=2), workers, wait=True)
    full_disk(False)
    assert events == ["checkpoint_failed"]
    assert checkpoints.latest_step() == 1
    log.write(100, {"loss": 101.0})
    assert [line["step"] for line in read_metrics(tmp_path)] == list(range(101))
    assert tensorboard_scalars(tmp_path / "tensorboard") == [("loss", step, 1.0 + step) for step in range(101)]
    checkpoints.save(state._replace(step=2), workers, wait=True)
    restored, found = checkpoints.restore(state)
    assert restored.step == 2 and found.steps == [1, 1]
    checkpoints.close()


def test_what_a_full_disk_keeps_from_being_saved_at_the_end_is_named(tmp_path, monkeypatch, full_disk):
    compute = stubbed(0.1, 0.0)

    def filling(settings, programs, theta, theta_step, step, index, state):
        while step == 3 and not (out / "manifests" / "2.json").exists():
            time.sleep(0.01)
        full_disk(step == 3)
        return compute(settings, programs, theta, theta_step, step, index, state)

    out = tmp_path / "run"
    monkeypatch.setattr("meta_train.worker.compute", filling)
    with pytest.raises(OSError, match="outer step 4") as error:
        run(TINY_FULL, out, console=QUIET)
    message = str(error.value)
    assert (
        f"checkpoint {out}/checkpoints/4 can't be written" in message and f"whole one is {out}/checkpoints/2" in message
    )
    assert f"can't write {out}/weights.velo: File too large" in message and message.endswith("; written: nothing")
    full_disk(False)
    assert velo.weights_info(out / "weights.velo").record["outer_steps"] == 2
    assert not list(out.rglob(".*"))
    monkeypatch.setattr("meta_train.worker.compute", compute)
    path = run(TINY_FULL, out, resume=True, console=QUIET)
    assert velo.weights_info(path).record["outer_steps"] == 4

    monkeypatch.setattr("meta_train.run.export", full(f"can't write {path}: disk full"))
    with pytest.raises(
        OSError, match=f"outer step 4: can't write {path}: disk full; written: checkpoint .*checkpoints/4"
    ):
        run(TINY_FULL, out, resume=True, console=QUIET)


def full(message):
    def fail(*_):
        raise OSError(message)

    return fail


def test_a_full_disk_at_the_start_leaves_a_folder_that_can_be_used(tmp_path, full_disk):
    full_disk(True)
    with pytest.raises(OSError, match=r"can't write .*run/settings\.json: File too large"):
        run(TINY_FULL, tmp_path / "run", console=QUIET)
    full_disk(False)
    assert not list((tmp_path / "run").iterdir())


def test_a_checkpoint_without_its_manifest_was_cut_off(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "manifests" / "4.json").unlink()
    path = run(TINY, tmp_path / "run", resume=True, console=QUIET)
    assert theta_digest(path) == theta_digest(finished / "weights.velo")
    assert (tmp_path / "run" / "manifests" / "4.json").exists()


def test_the_best_so_far_is_exported_with_its_number(tmp_path, monkeypatch):
    losses = iter([0.5, 0.3, 0.4])
    monkeypatch.setattr("meta_train.validation.validate", lambda settings, theta, name: next(losses))
    monkeypatch.setattr("meta_train.validation.task_names", lambda settings: ["mlp_spirals"])
    settings = dataclasses.replace(TINY, validation=Validation(every=2))
    run(settings, tmp_path / "run", console=QUIET)
    record = velo.weights_info(tmp_path / "run" / "best.velo").record
    assert record["outer_steps"] == 2
    assert record["validation"]["loss"] == 0.3 and record["validation"]["tasks"] == {"mlp_spirals": 0.3}
    assert [line["loss"] for line in read_validation(tmp_path / "run")] == [0.5, 0.3, 0.4]
    assert velo.weights_info(tmp_path / "run" / "weights.velo").record["outer_steps"] == 4


def test_a_run_can_start_from_weights(finished, tmp_path):
    settings = dataclasses.replace(TINY, start_weights=str(finished / "weights.velo"), num_steps=1)
    theta = initial_theta.build(settings, QUIET, lambda kind, **facts: None)
    np.testing.assert_array_equal(
        theta["bank"][0]["w"], velo.load_weights(finished / "weights.velo")[1]["bank"][0]["w"]
    )
    other = dataclasses.replace(settings, optimizer=VeLO(lstm_size=3, num_mixtures=1))
    with pytest.raises(velo.WeightsError, match=r"hold VeLO\(lstm_size=2"):
        run(other, tmp_path / "run", console=QUIET)
    assert not (tmp_path / "run").exists()


def test_when_nothing_works_the_run_says_why(tmp_path, monkeypatch):
    def broken(*_):
        raise MemoryError("out of memory")

    monkeypatch.setattr("meta_train.worker.compute", broken)
    with pytest.raises(NothingWorksError, match=r"no task can be carried out; the first was .*MemoryError: out of"):
        run(TINY, tmp_path / "run", console=QUIET)
    assert [line["event"] for line in read_events(tmp_path / "run")] == ["set_aside"]


def stubbed(grad, loss):
    """A replacement for `worker.compute` that gives every worker the same gradient and loss."""

    def compute(settings, programs, theta, theta_step, step, index, state):
        tree = jax.tree.map(lambda leaf: np.full(leaf.shape, grad, np.float32), theta)
        return learner.Contribution(index, step, theta_step, tree, loss, 0, 1, 0.01), ()

    return compute


NEW_TASKS = dataclasses.replace(TINY_FULL, family_pool=0, family_steps=1)


@pytest.mark.parametrize(
    ("num_steps", "grad", "loss", "num_done"), [(20, np.nan, 0.0, 10), (20, 0.0, np.nan, 10), (2, np.nan, 0.0, 2)]
)
def test_a_run_without_a_finite_estimate_ends_with_an_error(tmp_path, monkeypatch, num_steps, grad, loss, num_done):
    """New tasks at every step, so that none is set aside."""
    monkeypatch.setattr("meta_train.worker.compute", stubbed(grad, loss))
    message = f"no estimate .* finite in the last {num_done} outer steps: theta stayed as it was after outer step 0"
    with pytest.raises(NothingWorksError, match=message):
        run(dataclasses.replace(NEW_TASKS, num_steps=num_steps), tmp_path / "run", console=QUIET)
    assert [line["num_rejected"] for line in read_metrics(tmp_path / "run")] == [2] * num_done


def test_a_meta_gradient_of_zero_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr("meta_train.worker.compute", stubbed(0.0, 1.5))
    run(dataclasses.replace(NEW_TASKS, num_steps=12), tmp_path / "run", console=QUIET)
    (event,) = [line for line in read_events(tmp_path / "run") if line["event"] == "zero_gradient"]
    assert event["step"] == 10 and "exactly zero for 10 outer steps" in event["reason"]


def test_an_estimator_of_segments_needs_a_family_for_a_whole_episode():
    with pytest.raises(ValueError, match=r"with PES family_steps must be at least 3, .* got 2"):
        dataclasses.replace(TINY, family_steps=2)


def test_an_optimizer_that_can_not_be_saved_is_refused_before_anything_runs(tmp_path):
    settings = dataclasses.replace(TINY_FULL, optimizer=Unhashable([1]))
    with pytest.raises(velo.WeightsError, match=r"Unhashable can't be saved, its fields have to be JSON scalars"):
        run(settings, tmp_path / "run", console=QUIET)
    assert not (tmp_path / "run").exists()


@dataclasses.dataclass(frozen=True)
class Unhashable(velo.LearnedOptimizer):
    rates: list

    def init(self, key):
        return {"rate": np.float32(0.1)}

    def bind(self, theta, num_steps):
        raise NotImplementedError


def test_own_values_are_described_by_their_classes_and_fields():
    """A mixture that was given no name is compared by what it holds when its run is resumed."""
    mixture = TaskMixture(((Quadratic, 1.0), (Own, 2.0)))
    described = run_folder.describe(dataclasses.replace(TINY, mixture=mixture))
    assert described["mixture"]["type"] == "TaskMixture"
    assert described["mixture"]["families"] == [["Quadratic", 1.0], ["tests.meta_train.test_run:Own", 2.0]]
    assert json.loads(json.dumps(described)) == described
    assert run_folder.describe(TINY)["mixture"] == "small"
    assert run_folder.describe(Validation())["suite"] == "meta_valid"


class Own(Quadratic):
    pass


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mixture": "small"}, r"must be a tasks.mixture.Mixture, such as get_mixture\('small'\), got 'small'"),
        ({"optimizer": "VeLO"}, "optimizer must be a velo.LearnedOptimizer, got 'VeLO'"),
    ],
)
def test_names_are_no_values(fields, message):
    changed = copy.copy(TINY)
    for name, value in fields.items():
        object.__setattr__(changed, name, value)
    with pytest.raises(ValueError, match=message):
        changed.__post_init__()
