"""Divides an evaluation among Ray workers, which store the curves where the caller then finds them.

The workers have to see the caller's folder: one machine, or a shared file system. Every curve is stored once under its
key, so it doesn't matter which worker computes it, and a lost worker costs its unfinished curves only.
"""

import logging
import os
import sys
import warnings
from pathlib import Path

from rich.console import Console

from evaluation.curve_store import CurveStore
from evaluation.resumable_sweep import Sweep
from evaluation.settings import Contender, Evaluation, Procedure
from tasks.fixed import FixedTask


def fill(evaluation: Evaluation, folder: Path, console: Console) -> None:
    """Trains every contender on every task, `evaluation.num_workers` pairs at a time; the curves go to `folder`.

    It uses the cluster that the environment variable RAY_ADDRESS names, or starts one on this machine. Workers receive
    values; they import classes and functions of the user's own modules.

    Raises:
        ValueError: in one line, if Ray isn't installed.
    """
    try:
        import ray
    except ImportError:
        raise ValueError("num_workers needs Ray: pip install 'velo[meta-train]'") from None
    started = not ray.is_initialized()
    if started:
        address = os.environ.get("RAY_ADDRESS", "local")
        # Workers import the user's own modules from where the caller found them.
        path = os.pathsep.join(str(Path(entry or ".").resolve()) for entry in sys.path)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        with warnings.catch_warnings():
            # JAX warns of any fork; Ray's are followed by an exec at once, which is safe.
            warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
            ray.init(
                address=address,
                num_cpus=evaluation.num_workers if address == "local" else None,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": {"PYTHONPATH": path}},
            )
    try:
        remote = ray.remote(num_cpus=1, max_retries=2)(_fill_one)
        procedure, reference = evaluation.procedure, evaluation.reference
        waiting = {
            remote.remote(procedure, reference, folder.resolve(), task, contender): f"{task.name}: {contender.name}"
            for task, contender in evaluation.pairs
        }
        while waiting:
            (done,), _ = ray.wait(list(waiting))
            ray.get(done)
            name = waiting.pop(done)
            console.print(f"{name} done, {len(waiting)} to go", style="dim")
    finally:
        if started:
            ray.shutdown()


def _fill_one(procedure: Procedure, reference: str, folder: Path, task: FixedTask, contender: Contender) -> None:
    """In a worker: all curves of a contender on a task."""
    Sweep(procedure, reference, CurveStore(folder)).entry(task, contender)
