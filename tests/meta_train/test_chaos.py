"""An asynchronous run through everything that can go wrong at once, for VELO_CHAOS_MINUTES (15 unless told)."""

import collections
import dataclasses
import os
import random
import resource
import signal
import threading
import time
from typing import ClassVar

import fsspec
import jax
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from rich.console import Console

import velo
from meta_train import worker
from meta_train.estimators import FullES
from meta_train.mirror import Mirror
from meta_train.outer_optimizer import OuterOptimizer
from meta_train.programs import Programs
from meta_train.run import run
from meta_train.run_log import read_events, read_metrics
from meta_train.settings import Execution, MetaTraining
from meta_train.task_problem import Episodes
from tasks.mixture import get_mixture
from velo.architectures.velo.architecture import VeLO

QUIET = Console(quiet=True)
cluster_utils = pytest.importorskip("ray.cluster_utils")

MINUTES = float(os.environ.get("VELO_CHAOS_MINUTES", "15"))
SETTINGS = MetaTraining(
    num_steps=10**6,
    num_workers=4,
    mixture=get_mixture("small"),
    family_pool=4,
    max_staleness=4,
    optimizer=VeLO(lstm_size=2, num_mixtures=1),
    estimator=FullES(num_pairs=8, sigma=0.2, standardize=True),
    episodes=Episodes(segment_steps=25, min_steps=100, max_steps=100),
    outer=OuterOptimizer(learning_rate=0.05),
    execution=Execution(num_processes=3, deadline_seconds=90.0, checkpoint_every=2, mirror="slow://chaos"),
)


class SlowStore(MemoryFileSystem):
    """Takes its time, and refuses every third object."""

    protocol = "slow"
    store: ClassVar[dict] = {}
    pseudo_dirs: ClassVar[list] = [""]
    count = 0

    def pipe_file(self, path, value, **options):
        SlowStore.count += 1
        time.sleep(2.0)
        if SlowStore.count % 3 == 0:
            raise TimeoutError("the store is overloaded")
        super().pipe_file(path, value, **options)


class Chaos(threading.Thread):
    """Adds and kills nodes, stops worker processes in their tracks, and fills the disk, until the time is over."""

    def __init__(self, cluster, out, seconds: float):
        super().__init__()
        self._cluster, self._out = cluster, out
        self._end = time.monotonic() + seconds
        self._random = random.Random(0)
        self._nodes = []
        self.deeds = collections.Counter()
        self.error: Exception | None = None

    def run(self):
        try:
            while time.monotonic() < self._end:
                deeds = [self._add_node, self._kill_node, self._hang_worker, self._kill_worker, self._fill_disk]
                deed = self._add_node if not self._nodes else self._random.choice(deeds)
                if len(read_metrics(self._out)) >= 2:
                    deed()
                time.sleep(self._random.uniform(8, 20))
        except Exception as error:
            self.error = error
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    def _workers(self):
        lines = [line for line in read_events(self._out) if line["event"] == "worker_started"]
        return [line["number"] for line in lines if os.path.exists(f"/proc/{line['number']}")]

    def _add_node(self):
        if len(self._nodes) < 3:
            self._nodes.append(self._cluster.add_node(num_cpus=1))
            self.deeds["node added"] += 1

    def _kill_node(self):
        self._cluster.remove_node(self._nodes.pop(), allow_graceful=False)
        self.deeds["node killed"] += 1

    def _signal(self, number, name):
        workers = self._workers()
        if workers:
            os.kill(self._random.choice(workers), number)
            self.deeds[name] += 1

    def _hang_worker(self):
        self._signal(signal.SIGSTOP, "worker hung")

    def _kill_worker(self):
        self._signal(signal.SIGKILL, "worker killed")

    def _fill_disk(self):
        """No file of this process may grow for a while: every write fails as on a full disk."""
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        time.sleep(5)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        self.deeds["disk full"] += 1


def meta_loss(weights) -> float:
    """On the four tasks, four episodes' keys each: the same for every theta."""
    theta = SETTINGS.optimizer.init(jax.random.key(0)) if weights is None else velo.load_weights(weights)[1]
    places = [(step, index) for step in range(4) for index in range(SETTINGS.num_workers)]
    programs = Programs(SETTINGS.estimator)
    found = [worker.compute(SETTINGS, programs, theta, step, step, index, ())[0] for step, index in places]
    return float(np.mean([contribution.loss for contribution in found]))


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.filterwarnings("ignore")
def test_a_run_ends_well_and_accounts_for_every_contribution(tmp_path):
    num_calm = round(4 * MINUTES)
    at_home = dataclasses.replace(SETTINGS.execution, executor="local", mirror=None)
    calm = run(
        dataclasses.replace(SETTINGS, num_steps=num_calm, execution=at_home), tmp_path / "calm", console=QUIET
    )  # fmt: skip

    fsspec.register_implementation("slow", SlowStore, clobber=True)
    cluster = cluster_utils.Cluster(initialize_head=True, shutdown_at_exit=False, head_node_args={"num_cpus": 1})
    out = tmp_path / "chaos"
    execution = dataclasses.replace(SETTINGS.execution, address=cluster.address)
    chaos = Chaos(cluster, out, 60 * MINUTES)
    chaos.start()
    try:
        path = run(dataclasses.replace(SETTINGS, execution=execution), out, console=QUIET)
    finally:
        chaos.join()
        assert chaos.error is None, chaos.error
        cluster.shutdown()
    lines = read_metrics(out)
    count = {
        name.removeprefix("contributions_"): sum(line[name] for line in lines)
        for name in lines[0]
        if name.startswith("contributions_")
    }
    count["in_flight"] = lines[-1]["contributions_in_flight"]
    events = collections.Counter(line["event"] for line in read_events(out))
    print(f"\n{len(lines)} outer steps; {dict(chaos.deeds)}; {count}; {dict(events)}")  # noqa: T201
    assert [line["step"] for line in lines] == list(range(len(lines))), "a full disk cost a line of the log"
    outcomes = sum(count[name] for name in ("used", "stale", "lost", "poisoned", "replayed", "in_flight"))
    assert count["dispatched"] == outcomes
    assert count["used"] == len(lines) * SETTINGS.num_workers
    assert velo.weights_info(path).record["outer_steps"] == len(lines)
    Mirror("slow://chaos").fetch(tmp_path / "elsewhere")
    assert list((tmp_path / "elsewhere" / "checkpoints").iterdir())

    start, chaotic, calmed = (meta_loss(weights) for weights in (None, path, calm))
    print(f"meta-loss {start:.4f} at the start, {chaotic:.4f} after {len(lines)} outer steps in chaos, "  # noqa: T201
          f"{calmed:.4f} after {num_calm} calm ones")  # fmt: skip
    assert calmed < start
    assert start - chaotic > 0.5 * (start - calmed) * min(1.0, len(lines) / num_calm)
