"""The Ray actor that computes contributions, and how it finds the modules of the run's own optimizer and tasks.

An actor knows nothing of deadlines: `meta_train.ray_pool` replaces one that dies or hangs, and
`meta_train.ray_executor` gives its work to another or sets the task aside.
"""

import os
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray import cloudpickle

from meta_train import validation, worker
from meta_train.learner import Contribution, Failure
from meta_train.programs import Programs
from meta_train.ray_pool import Process, this_process
from meta_train.settings import MetaTraining
from velo.architectures.velo import kernel
from velo.learned_optimizer import Theta

HOME = str(Path(__file__).resolve().parents[1])
"""The folder that holds our packages."""
SETUP_HOOK = "meta_train.ray_worker.set_up_process"
"""What Ray calls in a new worker process, before the driver's folders are on its path."""


def set_up_process() -> None:
    """Does nothing: importing this module imports our packages, so that no folder of the driver can hide them."""


def driver_path() -> list[str]:
    """The folders in which the driver finds modules, its working folder among them."""
    entries = [os.path.abspath(entry) for entry in sys.path]
    return list(dict.fromkeys([*entries, os.getcwd()]))


def append_driver_path(entries: Sequence[str], working_folder: str) -> None:
    """Puts the driver's folders at the end of this process's path.

    Ray inserts the driver's working folder at the beginning, where its modules would hide those of packages.
    """
    if working_folder != HOME:
        sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != working_folder]
    sys.path.extend(entry for entry in entries if entry not in sys.path)


class RayWorker:
    """Holds the settings and compiled programs. Results depend on these and the arguments only: calls can be repeated.

    Args:
        packed: the result of `pack`.
    """

    def __init__(self, packed: bytes):
        path, working_folder, settings = pickle.loads(packed)
        append_driver_path(path, working_folder)
        self._settings: MetaTraining = pickle.loads(settings)  # whose classes may be a user's own
        kernel.in_use()  # raises if it is required and missing: such a node can't take part
        self._programs = Programs(self._settings.estimator)

    def compute(
        self, theta: Theta, theta_step: int, step: int, index: int, state: Any
    ) -> tuple[Contribution | Failure, Any]:
        """`worker.attempt`: two results, so that the state stays in the object store."""
        return worker.attempt(self._settings, self._programs, theta, theta_step, step, index, state)

    def compute_stateless(self, theta: Theta, theta_step: int, step: int, index: int) -> Contribution | Failure:
        """`worker.attempt` for estimators without a state."""
        return worker.attempt(self._settings, self._programs, theta, theta_step, step, index, ())[0]

    def validate(self, theta: Theta, name: str) -> float | str:
        """`validation.attempt`."""
        return validation.attempt(self._settings, theta, name)

    def process(self) -> Process:
        """Where this worker runs; the pool's first call, which shows that the process has started."""
        return this_process()


def pack(settings: MetaTraining) -> bytes:
    """The argument of `RayWorker`: the settings, unpacked only when the driver's folders are on the path."""
    packed = cloudpickle.dumps(settings)  # pyright: ignore[reportPrivateImportUsage]
    return pickle.dumps((driver_path(), os.getcwd(), packed))
