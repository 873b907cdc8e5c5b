"""Starts Ray without its log output, for meta-training and evaluation, which don't import each other."""

import logging
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

MAX_FOLDER_BYTES = 30
"""Ray appends up to 72 bytes to its folder for the paths of its sockets. macOS allows such a path 103, Linux 107."""
SHORT_FOLDER = Path("/tmp/ray")
"""Ray's default where neither RAY_TMPDIR nor TMPDIR names another folder."""


def start(address: str, *, num_cpus: int, runtime_env: dict[str, Any]) -> None:
    """Connects to a cluster, or starts one on this machine.

    Args:
        address: of the cluster; `local` starts one on this machine.
        num_cpus: of a cluster that is started.
        runtime_env: Ray's runtime environment for the worker processes.

    Raises:
        OSError: Ray's folder has too long a path for its sockets, and no short one can be written.
    """
    import ray

    local: dict[str, Any] = {"num_cpus": num_cpus, "include_dashboard": False, "_temp_dir": temporary_folder()}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with warnings.catch_warnings():
        # JAX warns of any fork; Ray's are followed by an exec at once, which is safe.
        warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env=runtime_env,
            **(local if address == "local" else {}),
        )


def temporary_folder() -> str | None:
    """The folder for Ray's sockets and logs; None leaves it to Ray.

    Raises:
        OSError: as `start`.
    """
    variable = "RAY_TMPDIR" if "RAY_TMPDIR" in os.environ else "TMPDIR"
    folder = os.environ.get(variable, "")
    if len(os.fsencode(folder)) <= MAX_FOLDER_BYTES:
        return None
    if variable == "TMPDIR" and _is_writable(SHORT_FOLDER):
        return str(SHORT_FOLDER)
    raise OSError(
        f"{variable} is {folder}, too long for Ray's sockets: set RAY_TMPDIR to a folder whose path has at most "
        f"{MAX_FOLDER_BYTES} bytes, not {len(os.fsencode(folder))}"
    )


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
