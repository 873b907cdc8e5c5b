"""Divides an evaluation among Ray workers: each fills the shared folder with curves, the caller then finds them there.

The workers have to see the folder of the caller: one machine, or a shared file system. Since every curve is written
once under its key, it doesn't matter who runs what, and a lost worker costs its unfinished curves only.
"""

import logging
import os
import sys
import warnings
from pathlib import Path

from rich.console import Console

from evaluation import plan
from evaluation.curve_store import Store
from evaluation.plan import Optimizers
from evaluation.resumable_sweep import Sweep
from evaluation.settings import Evaluation


def fill(settings: Evaluation, optimizers: Optimizers, folder: Path, console: Console) -> None:
    """Runs every optimizer on every task, `settings.num_workers` at a time.

    On the cluster that RAY_ADDRESS names, or on one of its own on this machine.

    Raises:
        ValueError: in one line, without Ray.
    """
    try:
        import ray
    except ImportError:
        raise ValueError("num_workers needs Ray: pip install 'velo[meta-train]'") from None
    started = not ray.is_initialized()
    if started:
        address = os.environ.get("RAY_ADDRESS", "local")
        # Modules of the user's own lie wherever the caller found them.
        path = os.pathsep.join(str(Path(entry or ".").resolve()) for entry in sys.path)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        with warnings.catch_warnings():
            # JAX warns of any fork; Ray's are followed by an exec at once, which is safe.
            warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
            ray.init(
                address=address,
                num_cpus=settings.num_workers if address == "local" else None,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": {"PYTHONPATH": path}},
            )
    try:
        remote = ray.remote(num_cpus=1, max_retries=2)(_fill_one)
        pairs = plan.pairs(settings, optimizers)
        waiting = {
            remote.remote(settings, dict(optimizers), folder.resolve(), index): f"{task.name}: {contender.name}"
            for index, (task, contender) in enumerate(pairs)
        }
        while waiting:
            (done,), _ = ray.wait(list(waiting))
            ray.get(done)
            name = waiting.pop(done)
            console.print(f"{name} done, {len(waiting)} to go", style="dim")
    finally:
        if started:
            ray.shutdown()


def _fill_one(settings: Evaluation, optimizers: Optimizers, folder: Path, index: int) -> None:
    """The worker makes the plan again: baselines hold functions, which don't travel."""
    task, contender = plan.pairs(settings, optimizers)[index]
    Sweep(settings, Store(folder)).entry(task, contender)
