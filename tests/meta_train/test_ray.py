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
from meta_train.run_log import read_metrics
from tests.meta_train.settings import TINY, TINY_FULL, with_execution

ray_executor = pytest.importorskip("meta_train.ray_executor")

QUIET = Console(quiet=True)

pytestmark = [
    pytest.mark.xdist_group("ray"),
    # Ray's own threads and sockets outlive its shutdown for a moment.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


def digest(settings, out):
    return velo.weights_info(run(settings, out, console=QUIET)).digest


@pytest.mark.parametrize(
    "settings", [pytest.param(TINY, id="pes"), pytest.param(TINY_FULL, id="full_es", marks=pytest.mark.slow)]
)
def test_one_or_two_ray_workers_give_the_local_theta(settings, tmp_path):
    expected = digest(settings, tmp_path / "local")
    for num_processes in (1, 2):
        on_ray = with_execution(settings, executor="ray", num_processes=num_processes)
        assert digest(on_ray, tmp_path / f"ray-{num_processes}") == expected


def test_a_killed_worker_is_replaced_and_changes_nothing():
    settings = with_execution(TINY, executor="ray", num_processes=2)
    theta = settings.optimizer.init(jax.random.key(0))
    local, remote = LocalExecutor(settings), ray_executor.RayExecutor(settings)
    try:
        for step in range(4):
            expected, _ = local.compute(theta, step)
            if step in (1, 3):
                running = [number for number in remote.process_ids() if Path(f"/proc/{number}").exists()]
                os.kill(running[step % len(running)], signal.SIGKILL)
            found = sorted(remote.compute(theta, step)[0], key=lambda contribution: contribution.worker)
            for ours, theirs in zip(found, expected, strict=True):
                assert ours.loss == theirs.loss
                assert all(
                    (a == b).all()
                    for a, b in zip(jax.tree.leaves(ours.grad), jax.tree.leaves(theirs.grad), strict=True)
                )
    finally:
        remote.close()


DRIVER = """
import sys
from pathlib import Path
from rich.console import Console
from meta_train.run import run
from tests.meta_train.settings import TINY, with_execution
import dataclasses
settings = with_execution(TINY, executor=sys.argv[3], checkpoint_every=1)
settings = dataclasses.replace(settings, num_steps=int(sys.argv[2]))
run(settings, Path(sys.argv[1]), resume="resume" in sys.argv, console=Console(quiet=True))
"""


@pytest.mark.parametrize("executor", ["local", "ray"])
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


def test_a_terminated_run_stops_after_its_step_and_can_go_on(tmp_path):
    num_steps = 12
    expected = digest(dataclasses.replace(TINY, num_steps=num_steps), tmp_path / "whole")
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "run"), str(num_steps), "local"]
    driver = subprocess.Popen(command)
    deadline = time.monotonic() + 120
    while len(read_metrics(tmp_path / "run")) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(timeout=60) == 0
    assert 2 <= len(read_metrics(tmp_path / "run")) < num_steps
    subprocess.run([*command, "resume"], check=True, timeout=240)
    assert velo.weights_info(tmp_path / "run" / "weights.velo").digest == expected
