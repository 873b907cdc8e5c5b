"""Divides an evaluation among Ray workers, which store the curves in the caller's folder.

All workers need access to that folder: they run on one machine or share a file system. Every curve is stored once under
its key, so it doesn't matter which worker computes it, and a lost worker costs only its unfinished curve. The caller
trains the curves that no worker could finish.
"""

import os
import sys
from pathlib import Path

from rich.console import Console

from evaluation.curve_store import CurveStore
from evaluation.resumable_sweep import Sweep
from evaluation.settings import Contender, Evaluation, Procedure
from tasks import ray_start
from tasks.fixed import FixedTask

MAX_RETRIES = 5
"""Retries of a (task, contender) pair whose worker was killed. A retry resumes, since finished curves are stored."""


def fill(evaluation: Evaluation, folder: Path, console: Console) -> None:
    """Trains every contender on every task, `evaluation.num_workers` pairs at a time; stores the curves in `folder`.

    It uses the cluster that the environment variable RAY_ADDRESS names, or starts one on this machine. Workers receive
    pickled values; they import classes and functions of the user's own modules.

    Raises:
        ValueError: in one line, if Ray isn't installed.
        OSError: in one line, if no folder has a path short enough for Ray.
    """
    try:
        import ray
        from ray.exceptions import RayError, RayTaskError
    except ImportError:
        raise ValueError("num_workers needs Ray: pip install 'velo[meta-train]'") from None
    started = not ray.is_initialized()
    if started:
        address = os.environ.get("RAY_ADDRESS", "local")
        # Workers need the caller's import path to find the user's own modules.
        path = os.pathsep.join(str(Path(entry or ".").resolve()) for entry in sys.path)
        ray_start.start(address, num_cpus=evaluation.num_workers, runtime_env={"env_vars": {"PYTHONPATH": path}})
    try:
        remote = ray.remote(num_cpus=1, max_retries=MAX_RETRIES)(_fill_one)
        procedure, reference = evaluation.procedure, evaluation.reference
        waiting = {
            remote.remote(procedure, reference, folder.resolve(), task, contender): f"{task.name}: {contender.name}"
            for task, contender in evaluation.pairs
        }
        while waiting:
            (done,), _ = ray.wait(list(waiting))
            name, outcome = waiting.pop(done), "done"
            try:
                ray.get(done)
            except RayTaskError:
                raise  # an error in the optimizer or the task, which would fail on any worker
            except RayError as error:
                outcome = f"lost its worker {MAX_RETRIES + 1} times ({type(error).__name__}), runs here at the end"
            console.print(f"{name} {outcome}, {len(waiting)} to go", style="dim", markup=False)
    finally:
        if started:
            ray.shutdown()


def _fill_one(procedure: Procedure, reference: str, folder: Path, task: FixedTask, contender: Contender) -> None:
    """Runs in a worker: computes all curves of a contender on a task."""
    Sweep(procedure, reference, CurveStore(folder)).entry(task, contender)
