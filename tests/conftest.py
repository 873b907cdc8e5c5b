"""The process of every test: one thread, quick compilation, eight devices, and all annotations checked."""

import os
from pathlib import Path

ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "KERAS_BACKEND": "jax",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "JAX_COMPILATION_CACHE_DIR": str(Path(__file__).parents[1] / ".cache" / "jax"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    "VELO_KERNEL": "off",
    "NPROC": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Eight host devices stand in for eight accelerators in the tests of sharding.
    "XLA_FLAGS": "--xla_backend_optimization_level=1 --xla_cpu_multi_thread_eigen=false "
    "--xla_force_host_platform_device_count=8",
}
for name, value in ENVIRONMENT.items():
    os.environ.setdefault(name, value)

from jaxtyping import install_import_hook  # noqa: E402, the environment has to stand before JAX is imported

install_import_hook(["velo", "tasks", "meta_train", "evaluation"], "beartype.beartype")
