"""Process environment of every worker; it has to be set before JAX is imported."""

import os
from pathlib import Path

VARIABLES = {
    # One core a process: threads inside a worker would fight the other workers, and could change sums.
    "NPROC": "1",
    "OMP_NUM_THREADS": "1",
    # Level 1 halves the time to compile an architecture and costs a tenth of the speed at most.
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false --xla_backend_optimization_level=1",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
}


def worker_environment() -> dict[str, str]:
    """Variables of a worker: those that the user has set win, so that a GPU's flags can be given."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "velo" / "jax"
    defaults = VARIABLES | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    return {name: os.environ.get(name, value) for name, value in defaults.items()}


def apply() -> None:
    """Sets the variables in this process, so that it computes the same bits as a worker."""
    os.environ.update(worker_environment())
