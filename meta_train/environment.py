"""The environment variables of worker processes. They must be set before JAX is imported."""

import os
from pathlib import Path

VARIABLES = {
    # One core per process: threads inside a worker would compete with the other workers, and could change sums.
    "NPROC": "1",
    "OMP_NUM_THREADS": "1",
    # For LAPACK too: with its default threads, small matrices took up to twenty times as long.
    "OPENBLAS_NUM_THREADS": "1",
    # Level 1 halves the time to compile an architecture and costs a tenth of the speed at most.
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false --xla_backend_optimization_level=1",
    # "on" fails where the kernel is missing; "auto" would let the processes of a run differ, and counts as off.
    "VELO_KERNEL": "off",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
}


def worker_environment(gpus_per_process: float = 0.0) -> dict[str, str]:
    """Environment variables of a worker. Those that the user has set are kept, except that VELO_KERNEL=auto is off.

    Args:
        gpus_per_process: GPUs that Ray gives to a worker; with a share of one, JAX may use nine tenths of
            that share of its memory.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "velo" / "jax"
    defaults = VARIABLES | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    if 0 < gpus_per_process < 1:
        # Several processes share a GPU: each takes its share of the memory, and leaves a tenth to the driver.
        defaults |= {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 * gpus_per_process:.3f}"}
    variables = {name: os.environ.get(name, value) for name, value in defaults.items()}
    if variables["VELO_KERNEL"] == "auto":
        variables["VELO_KERNEL"] = "off"
    return variables


def apply() -> None:
    """Sets the variables in this process, so that it computes the same bits as a worker."""
    os.environ.update(worker_environment())


def keep_off_accelerators() -> None:
    """Keeps this process on the CPU. The learner of a Ray run needs no GPU and must not allocate one's memory."""
    import jax  # environment variables must be set before JAX is imported

    jax.config.update("jax_platforms", "cpu")
