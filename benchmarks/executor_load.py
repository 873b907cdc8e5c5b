"""Throughput of the learner in contributions per second, with simulated workers that answer after a fixed delay.

The workers compute nothing, so they share a few processes. The driver handles as many actor calls as on a real cluster.
Usage: python benchmarks/executor_load.py [num_workers] [delay_seconds] [num_outer_steps]
"""

import asyncio
import dataclasses
import functools
import resource
import sys
import time

from meta_train import environment

environment.apply()

import jax  # noqa: E402, environment variables must be set before JAX is imported
import numpy as np  # noqa: E402
import ray  # noqa: E402

from configs.meta_training import PRESETS  # noqa: E402
from meta_train import learner, worker  # noqa: E402
from meta_train.learner import Contribution  # noqa: E402
from meta_train.ray_executor import RayExecutor  # noqa: E402
from meta_train.ray_pool import this_process  # noqa: E402

NUM_PROCESSES = 4
OPTIMIZER_SIZES = {"small": (16, 4), "large": (64, 16)}
"""Name -> LSTM size and number of mixtures."""


class SimulatedWorker:
    """Answers after a delay with numbers of the right size."""

    def __init__(self, settings, delay_seconds: float, size: int):
        self._num_pairs = settings.estimator.num_pairs
        self._delay_seconds = delay_seconds
        self._grad = np.full(size, 1e-3, np.float32) if settings.execution.send_gradients else None

    async def compute_stateless(self, theta, theta_step, step, index):
        await asyncio.sleep(self._delay_seconds)
        coefficients = None if self._grad is not None else np.full(self._num_pairs, 1e-3, np.float32)
        return Contribution(index, step, theta_step, self._grad, 0.0, 0, 1, self._delay_seconds, coefficients)

    async def process(self):
        return this_process()


class SimulatedExecutor(RayExecutor):
    delay_seconds = 1.0
    size = 0

    def _start_worker(self, slot):
        return self._handles(self._settings)[slot % NUM_PROCESSES]

    @classmethod
    @functools.cache
    def _handles(cls, settings):
        actor = ray.remote(num_cpus=0.1, max_concurrency=1000)(SimulatedWorker)
        return [actor.remote(settings, cls.delay_seconds, cls.size) for _ in range(NUM_PROCESSES)]


def measure(settings, num_outer_steps: int) -> None:
    theta = jax.device_get(settings.optimizer.init(jax.random.key(0)))
    leaves, structure = jax.tree.flatten(theta)
    SimulatedExecutor.size = size = sum(leaf.size for leaf in leaves)
    executor = SimulatedExecutor(settings)
    outer_tx = settings.outer.build()
    state = learner.init(outer_tx, theta)
    bounds = np.cumsum([leaf.size for leaf in leaves])[:-1]

    def complete(contribution):
        if contribution.grad is None:
            return worker.complete(settings, state.theta, contribution)
        parts = np.split(contribution.grad, bounds)
        shaped = [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
        return contribution._replace(grad=jax.tree.unflatten(structure, shaped))

    try:
        received, learner_cpu = 0, 0.0
        for step in range(num_outer_steps + 2):
            if step == 2:  # by now all processes have started and the learner has compiled
                began, began_cpu, received, learner_cpu = time.perf_counter(), time.process_time(), 0, 0.0
            contributions, _ = executor.compute(state.theta, step)
            received += sum(learner.num_bytes(contribution) for contribution in contributions)
            cpu = time.process_time()
            state, _ = learner.update(outer_tx, state, contributions, 0.9, complete)
            learner_cpu += time.process_time() - cpu
        seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
        count = num_outer_steps * settings.num_workers
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"| {size:,} | {'gradients' if settings.execution.send_gradients else 'seeds'} | {count / seconds:.0f} | "
            f"{1000 * (cpu - learner_cpu) / count:.2f} | {1000 * learner_cpu / count:.2f} | {count / cpu:.0f} | "
            f"{received / num_outer_steps / 1e6:.3f} | {memory:.0f} |",
            flush=True,
        )
    finally:
        executor.close()
        SimulatedExecutor._handles.cache_clear()


def main() -> None:
    num_workers = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    SimulatedExecutor.delay_seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    num_outer_steps = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    base = PRESETS["laptop"].settings
    print("| meta-parameters | sent | a second | transport, CPU ms each | learner | per CPU-s | MB a step | peak MB |")
    print("|---|---|---|---|---|---|---|---|")
    for lstm_size, num_mixtures in OPTIMIZER_SIZES.values():
        for send_gradients in (False, True):
            optimizer = dataclasses.replace(base.optimizer, lstm_size=lstm_size, num_mixtures=num_mixtures)
            execution = dataclasses.replace(
                base.execution, num_processes=num_workers, cpus_per_process=0.01, send_gradients=send_gradients
            )
            settings = dataclasses.replace(
                base, num_workers=num_workers, max_staleness=10, optimizer=optimizer, execution=execution
            )
            measure(settings, num_outer_steps)


if __name__ == "__main__":
    main()
