"""Fault injection for meta-training: kills, hangs, full disks, a failing store; every contribution is accounted for.

    PYTHONPATH=. python benchmarks/faults.py [--kills 5] [--minutes 2]

The first run is synchronous, on two Ray workers, one of which is killed at random every second outer step. It must give
bitwise the same theta as the same run in this process. The second run is asynchronous, on a cluster whose nodes come
and go, with workers stopped and killed, full disks, and a slow checkpoint store that refuses every third object. Prints
both accounts. The exit status is 1 if a contribution is not accounted for, a line of the log is missing, or theta
differs.
"""

import argparse
import collections
import dataclasses
import os
import random
import resource
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import ClassVar

from meta_train import environment

if __name__ == "__main__":
    environment.apply()  # must run before JAX is imported

import fsspec
from fsspec.implementations.memory import MemoryFileSystem
from ray import cluster_utils
from rich.console import Console

import velo
from meta_train.estimators import PES, FullES
from meta_train.mirror import Mirror
from meta_train.outer_optimizer import OuterOptimizer
from meta_train.run import run
from meta_train.run_log import read_events, read_metrics
from meta_train.settings import Execution, MetaTraining
from meta_train.task_problem import Episodes
from tasks.mixture import get_mixture

QUIET = Console(quiet=True)
SMALL = velo.VeLO(lstm_size=2, num_mixtures=1)
SYNCHRONOUS = MetaTraining(
    num_workers=4,
    family_pool=1,
    family_steps=4,
    optimizer=SMALL,
    estimator=PES(num_pairs=2),
    episodes=Episodes(segment_steps=3, min_steps=3, max_steps=9),
    execution=Execution(executor="local", num_processes=2, checkpoint_every=2, max_attempts=50),
)
ASYNCHRONOUS = MetaTraining(
    num_steps=10**6,
    num_workers=4,
    mixture=get_mixture("small"),
    family_pool=4,
    max_staleness=4,
    optimizer=SMALL,
    estimator=FullES(num_pairs=8, sigma=0.2, standardize=True),
    episodes=Episodes(segment_steps=25, min_steps=100, max_steps=100),
    outer=OuterOptimizer(learning_rate=0.05),
    execution=Execution(num_processes=3, deadline_seconds=90.0, checkpoint_every=2, mirror="slow://chaos"),
)
OUTCOMES = ("used", "stale", "lost", "poisoned", "replayed", "in_flight")


def account(out: Path) -> dict[str, int]:
    """Number of contributions of a run by outcome; `in_flight` counts those of its last outer step."""
    lines = read_metrics(out)
    if not lines:
        return {}
    names = [name for name in lines[0] if name.startswith("contributions_")]
    count = {name.removeprefix("contributions_"): sum(line[name] for line in lines) for name in names}
    return count | {"in_flight": lines[-1]["contributions_in_flight"]}


def violations(out: Path, weights: Path) -> list[str]:
    """The inconsistencies in a run's account, log and weights."""
    lines, found = read_metrics(out), []
    if not lines:
        return ["no outer step was done: this machine may be too slow for the deadline"]
    count = account(out)
    if count["dispatched"] != sum(count[name] for name in OUTCOMES):
        found.append(f"dispatched contributions that nobody accounts for: {count}")
    if [line["step"] for line in lines] != list(range(len(lines))):
        found.append("a line of the log is missing")
    if velo.weights_info(weights).record["outer_steps"] != len(lines):
        found.append("the weights are not those of the last outer step")
    return found


class Killer(threading.Thread):
    """Kills random worker processes of a run, one every second outer step."""

    def __init__(self, out: Path, num_kills: int):
        super().__init__(daemon=True)
        self._out, self._num_kills = out, num_kills
        self.killed = 0

    def run(self):
        """Kills workers until `num_kills` have been killed."""
        chance = random.Random(0)
        while self.killed < self._num_kills:
            time.sleep(0.02)
            if len(read_metrics(self._out)) < 2 * self.killed:
                continue
            running = workers(self._out)
            if running:
                os.kill(chance.choice(running), signal.SIGKILL)
                self.killed += 1


def workers(out: Path) -> list[int]:
    """Process identifiers of a run's workers that are alive."""
    started = [line["number"] for line in read_events(out) if line["event"] == "worker_started"]
    return [number for number in started if os.path.exists(f"/proc/{number}")]


def killed_workers(settings: MetaTraining, folder: Path, num_kills: int) -> tuple[Path, Path]:
    """(weights of the run in this process, weights of the run on Ray whose workers were killed)."""
    settings = dataclasses.replace(settings, num_steps=2 * num_kills + 5)
    calm = run(settings, folder / "calm", console=QUIET)
    killer = Killer(folder / "killed", num_kills)
    killer.start()
    on_ray = dataclasses.replace(settings.execution, executor="ray", num_processes=2, max_attempts=50)
    return calm, run(dataclasses.replace(settings, execution=on_ray), folder / "killed", console=QUIET)


class SlowStore(MemoryFileSystem):
    """A store in memory that is slow and refuses every third object."""

    protocol = "slow"
    store: ClassVar[dict] = {}
    pseudo_dirs: ClassVar[list] = [""]
    count = 0

    def pipe_file(self, path, value, **options):
        """Takes two seconds per object; raises a TimeoutError for every third."""
        SlowStore.count += 1
        time.sleep(2.0)
        if SlowStore.count % 3 == 0:
            raise TimeoutError("the store is overloaded")
        super().pipe_file(path, value, **options)


class Chaos(threading.Thread):
    """Adds and kills nodes, stops and kills worker processes, and fills the disk, until the time is over."""

    def __init__(self, cluster, out: Path, seconds: float):
        super().__init__(daemon=True)
        self._cluster, self._out = cluster, out
        self._end = time.monotonic() + seconds
        self._random = random.Random(0)
        self._nodes = []
        self.deeds = collections.Counter()
        self.error: Exception | None = None

    def run(self):
        """Injects faults at random; at the end sends SIGTERM to this process, as a scheduler would."""
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

    def _add_node(self):
        if len(self._nodes) < 3:
            self._nodes.append(self._cluster.add_node(num_cpus=1))
            self.deeds["nodes added"] += 1

    def _kill_node(self):
        self._cluster.remove_node(self._nodes.pop(), allow_graceful=False)
        self.deeds["nodes killed"] += 1

    def _signal(self, number, name):
        running = workers(self._out)
        if running:
            os.kill(self._random.choice(running), number)
            self.deeds[name] += 1

    def _hang_worker(self):
        self._signal(signal.SIGSTOP, "workers stopped")

    def _kill_worker(self):
        self._signal(signal.SIGKILL, "workers killed")

    def _fill_disk(self):
        """Simulates a full disk: for five seconds no file of this process may grow, so that every write fails."""
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        time.sleep(5)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        self.deeds["full disks"] += 1


def chaos(folder: Path, minutes: float) -> tuple[Path, collections.Counter]:
    """(weights, number of faults by kind) of the asynchronous run. Its mirror must hold a run at the end."""
    fsspec.register_implementation("slow", SlowStore, clobber=True)
    cluster = cluster_utils.Cluster(initialize_head=True, shutdown_at_exit=False, head_node_args={"num_cpus": 1})
    execution = dataclasses.replace(ASYNCHRONOUS.execution, address=cluster.address)
    thread = Chaos(cluster, folder / "chaos", 60 * minutes)
    thread.start()
    try:
        weights = run(dataclasses.replace(ASYNCHRONOUS, execution=execution), folder / "chaos", console=QUIET)
    finally:
        thread.join()
        cluster.shutdown()
    if thread.error is not None:
        raise thread.error
    Mirror("slow://chaos").fetch(folder / "elsewhere")
    return weights, thread.deeds


def describe(out: Path) -> str:
    """The account of a run in one line, and its events in another."""
    events = collections.Counter(line["event"] for line in read_events(out))
    counts = ", ".join(f"{name} {number}" for name, number in account(out).items())
    return f"{len(read_metrics(out))} outer steps; {counts}\n  events: {dict(events)}"


def main(num_kills: int, minutes: float) -> int:
    """Prints both accounts and returns the exit status."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if num_kills:
            calm, killed = killed_workers(SYNCHRONOUS, folder, num_kills)
            same = velo.weights_info(calm).digest == velo.weights_info(killed).digest
            print(f"{num_kills} workers killed: {describe(folder / 'killed')}")
            print(f"  theta {'equal to the bit' if same else 'DIFFERS'}: {velo.weights_info(killed).digest[:16]}")
            found += violations(folder / "killed", killed) + ([] if same else ["theta differs"])
        if minutes:
            weights, deeds = chaos(folder, minutes)
            print(f"{minutes:g} minutes of chaos, {dict(deeds)}: {describe(folder / 'chaos')}")
            found += violations(folder / "chaos", weights)
    print("\n".join(found) or "every contribution is accounted for, and no line of the log is missing")
    return 1 if found else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=5, help="workers to kill in the synchronous run")
    parser.add_argument("--minutes", type=float, default=2.0, help="length of the asynchronous run")
    arguments = parser.parse_args()
    raise SystemExit(main(arguments.kills, arguments.minutes))
