"""Ray against the reference in this process: the same theta to the bit, through the death of workers and drivers."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest
from rich.console import Console

import velo
from meta_train.executor import LocalExecutor
from meta_train.run import run
from meta_train.run_log import read_events, read_metrics
from tests.meta_train.settings import TINY, TINY_FULL, with_execution

ray_executor = pytest.importorskip("meta_train.ray_executor")
import ray  # noqa: E402, after the check that it is there
from ray import cluster_utils  # noqa: E402

from benchmarks import faults  # noqa: E402

QUIET = Console(quiet=True)
FOUR, FOUR_FULL = (dataclasses.replace(settings, num_workers=4) for settings in (TINY, TINY_FULL))

pytestmark = [
    pytest.mark.xdist_group("ray"),
    # Ray's own threads and sockets outlive its shutdown for a moment.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


def digest(settings, out):
    return velo.weights_info(run(settings, out, console=QUIET)).digest


def test_two_ray_workers_give_the_local_theta(tmp_path):
    expected = digest(TINY, tmp_path / "local")
    assert digest(with_execution(TINY, executor="ray", num_processes=2), tmp_path / "ray") == expected


@pytest.mark.slow
@pytest.mark.parametrize("settings", [pytest.param(FOUR, id="pes"), pytest.param(FOUR_FULL, id="full_es")])
def test_any_number_of_ray_workers_gives_the_local_theta(settings, tmp_path):
    expected = digest(settings, tmp_path / "local")
    for num_processes in (1, 2, 4):
        on_ray = with_execution(settings, executor="ray", num_processes=num_processes)
        assert digest(on_ray, tmp_path / f"ray-{num_processes}") == expected
    sent = with_execution(settings, executor="ray", send_gradients=True)
    assert digest(sent, tmp_path / "sent") == expected


@pytest.mark.slow
def test_a_resume_on_another_number_of_workers_changes_nothing(tmp_path):
    expected = digest(FOUR, tmp_path / "whole")
    out = tmp_path / "run"
    for num_steps, execution in (
        (1, {"executor": "ray", "num_processes": 2}),
        (2, {"executor": "ray", "num_processes": 4}),
        (3, {"executor": "local"}),
        (4, {"executor": "ray", "num_processes": 3}),
    ):
        settings = with_execution(dataclasses.replace(FOUR, num_steps=num_steps), **execution)
        path = run(settings, out, resume=num_steps > 1, console=QUIET)
    assert velo.weights_info(path).digest == expected


@pytest.mark.slow
def test_twenty_kills_of_random_workers_change_nothing(tmp_path):
    calm, killed = faults.killed_workers(FOUR, tmp_path, 20)
    assert velo.weights_info(killed).digest == velo.weights_info(calm).digest
    assert faults.violations(tmp_path / "killed", killed) == []
    assert sum(line["event"] == "worker_lost" for line in read_events(tmp_path / "killed")) >= 15


@ray.remote(num_cpus=0)
def gone():
    raise OSError("the object is gone")


def test_a_killed_worker_and_a_lost_state_change_nothing():
    """States of PES lie in the object store; at the last step they can't be had from it, as when a node has died."""
    settings = with_execution(TINY, executor="ray", num_processes=2)
    theta = settings.optimizer.init(jax.random.key(0))
    events = []
    local = LocalExecutor(settings)
    remote = ray_executor.RayExecutor(settings, lambda kind, **facts: events.append(kind))
    try:
        for step in range(4):
            changed = jax.tree.map(lambda leaf, step=step: leaf + 0.01 * step, theta)
            expected, _ = local.compute(changed, step)
            if step == 1:
                remote.snapshot()
                running = [number for number in remote.process_ids() if Path(f"/proc/{number}").exists()]
                os.kill(running[0], signal.SIGKILL)
            if step == 3:
                for logical in remote._workers:
                    logical.state = gone.remote()
            found, account = remote.compute(changed, step)
            for ours, theirs in zip(sorted(found, key=lambda c: c.worker), expected, strict=True):
                assert ours.loss == theirs.loss
                assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), ours.grad, theirs.grad))
        assert (account.lost, account.replayed) == (2, 2 * 2)
        assert events.count("state_lost") == 2
    finally:
        remote.close()


DRIVER = """
import sys
from pathlib import Path
from rich.console import Console
from meta_train.run import run
from tests.meta_train.settings import TINY, with_execution
import dataclasses
address = next((word for word in sys.argv if ":" in word), None)
settings = with_execution(TINY, executor=sys.argv[3], checkpoint_every=1, address=address)
settings = dataclasses.replace(settings, num_steps=int(sys.argv[2]))
run(settings, Path(sys.argv[1]), resume="resume" in sys.argv, console=Console(quiet=True))
"""


@pytest.mark.parametrize("executor", [pytest.param("local", marks=pytest.mark.slow), "ray"])
def test_a_killed_driver_is_resumed_to_the_same_theta(executor, tmp_path):
    num_steps = 12
    settings = dataclasses.replace(TINY, num_steps=num_steps)
    expected = digest(settings, tmp_path / "whole")
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "run"), str(num_steps), executor]
    driver = subprocess.Popen(command)
    deadline = time.monotonic() + 120
    while len(read_metrics(tmp_path / "run")) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    done = len(read_metrics(tmp_path / "run"))
    assert 3 <= done < num_steps, f"the driver had done {done} steps when it was killed"
    subprocess.run([*command, "resume"], check=True, timeout=240)
    assert velo.weights_info(tmp_path / "run" / "weights.velo").digest == expected
    assert [line["step"] for line in read_metrics(tmp_path / "run")] == list(range(num_steps))


@pytest.mark.slow
def test_a_run_goes_on_at_a_new_head_after_the_death_of_the_old_one(tmp_path):
    num_steps = 12
    settings = dataclasses.replace(TINY, num_steps=num_steps)
    expected = digest(settings, tmp_path / "whole")
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "run"), str(num_steps), "ray"]
    first = cluster_utils.Cluster(initialize_head=True, shutdown_at_exit=False, head_node_args={"num_cpus": 2})
    driver = subprocess.Popen([*command, first.address])
    try:
        deadline = time.monotonic() + 240
        while len(read_metrics(tmp_path / "run")) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        first.head_node.kill_all_processes(check_alive=False, allow_graceful=False)
        assert driver.wait(timeout=240) != 0
    finally:
        driver.kill()
    done = len(read_metrics(tmp_path / "run"))
    assert 3 <= done < num_steps, f"the driver had done {done} steps when its head was killed"
    second = cluster_utils.Cluster(initialize_head=True, shutdown_at_exit=False, head_node_args={"num_cpus": 2})
    try:
        subprocess.run([*command, second.address, "resume"], check=True, timeout=240)
    finally:
        second.shutdown()
    assert velo.weights_info(tmp_path / "run" / "weights.velo").digest == expected
    assert [line["step"] for line in read_metrics(tmp_path / "run")] == list(range(num_steps))
