"""Divides an evaluation among Ray workers, which store the curves where the caller then finds them.

The workers have to see the caller's folder: one machine, or a shared file system. Every curve is stored once under its
key, so it doesn't matter which worker computes it, and a lost worker costs its unfinished curve only. What no worker
could finish is left to the caller, who trains whatever is not stored.
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
"""Of a pair whose worker was killed. It goes on where it was: the curves that are finished are stored."""


def fill(evaluation: Evaluation, folder: Path, console: Console) -> None:
    """Trains every contender on every task, `evaluation.num_workers` pairs at a time; the curves go to `folder`.

    It uses the cluster that the environment variable RAY_ADDRESS names, or starts one on this machine. Workers receive
    values; they import classes and functions of the user's own modules.

    Raises:
        ValueError: in one line, if Ray isn't installed.
        OSError: in one line, if no folder with a short path can be found for it.
    """
    try:
        import ray
        from ray.exceptions import RayError, RayTaskError
    except ImportError:
        raise ValueError("num_workers needs Ray: pip install 'velo[meta-train]'") from None
    started = not ray.is_initialized()
    if started:
        address = os.environ.get("RAY_ADDRESS", "local")
        # Workers import the user's own modules from where the caller found them.
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
                raise  # a mistake of the optimizer or the task, here as anywhere
            except RayError as error:
                outcome = f"lost its worker {MAX_RETRIES + 1} times ({type(error).__name__}), runs here at the end"
            console.print(f"{name} {outcome}, {len(waiting)} to go", style="dim", markup=False)
    finally:
        if started:
            ray.shutdown()


def _fill_one(procedure: Procedure, reference: str, folder: Path, task: FixedTask, contender: Contender) -> None:
    """In a worker: all curves of a contender on a task."""
    Sweep(procedure, reference, CurveStore(folder)).entry(task, contender)
