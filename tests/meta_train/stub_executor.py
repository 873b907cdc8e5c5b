"""Ray workers that compute nothing and fail on request, to test how their contributions are handled."""

import os
import time
from pathlib import Path

import numpy as np
import ray

from meta_train.learner import Contribution, Failure
from meta_train.ray_executor import RayExecutor
from meta_train.ray_pool import this_process

THETA = {"a": np.zeros(3, np.float32)}


class StubWorker:
    """A file `WORKER-STEP` in the folder names the failure at that step; dying and hanging happen once."""

    def __init__(self, folder: Path):
        self._folder = folder

    def compute_stateless(self, theta, theta_step, step, index):
        with (self._folder / "calls").open("a") as file:
            file.write(f"{index}-{step}\n")
        order = self._folder / f"{index}-{step}"
        word = order.read_text() if order.exists() else ""
        if word in ("die", "hang"):
            order.unlink()
            if word == "die":
                os._exit(1)
            time.sleep(600)
        if word == "slow":
            time.sleep(2)
        if word == "fail":
            return Failure(index, step, "XlaRuntimeError: out of memory")
        time.sleep(0.02)
        loss = float("nan") if word == "nan" else float(index)
        return Contribution(index, step, theta_step, dict(THETA), loss, 0, 1, 0.02)

    def validate(self, theta, name):
        return 0.5 if name != "mlp_spirals" else "MissingDataError: not here"

    def process(self):
        return this_process()


class StubExecutor(RayExecutor):
    def __init__(self, settings, folder: Path, report):
        self._folder = folder
        super().__init__(settings, report)

    def _start_worker(self, slot):
        return ray.remote(num_cpus=0, max_restarts=0)(StubWorker).remote(self._folder)
