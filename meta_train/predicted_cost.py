"""Predicts what a run does and costs, without compiling or training anything: `--dry-run` prints it."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from meta_train import worker
from meta_train.settings import MetaTraining
from meta_train.task_problem import TaskProblem
from tasks import cost, inner_loop
from tasks.family import TaskFamily, num_params
from tasks.wrappers.wrapper import innermost

NUM_SAMPLES = 12
"""Number of tasks that the prediction averages over, the first ones of the run."""


@dataclasses.dataclass(frozen=True)
class TaskCost:
    """What one task of the run costs."""

    family: TaskFamily
    num_params: int
    step_seconds: float
    """Seconds of one lane's inner step, gradient and learned optimizer, on one core."""
    memory_bytes: int
    """Bytes that all lanes together carry from step to step."""


@dataclasses.dataclass(frozen=True)
class RunCost:
    """What a run does and costs."""

    num_meta_parameters: int
    num_lanes: int
    mean_steps: float
    tasks: tuple[TaskCost, ...]
    core_seconds: float
    """Core-seconds of one outer step, over all workers, without compilation."""
    num_outer_steps: int
    num_cores: float

    @property
    def hours(self) -> float:
        """Hours of the whole run, if every process is busy all the time."""
        return self.core_seconds / self.num_cores * self.num_outer_steps / 3600


def mean_steps(settings: MetaTraining) -> float:
    """Inner steps of a lane in one contribution: a segment, or the mean of a log-uniform length."""
    if settings.estimator.persistent:
        return settings.episodes.segment_steps
    low, high = settings.episodes.min_steps, settings.episodes.max_steps
    return low if low == high else (high - low) / math.log(high / low)


def predict_task(settings: MetaTraining, family: TaskFamily) -> TaskCost:
    """The cost of a task, predicted as in `tasks.cost` from a program that holds the learned optimizer too."""
    problem, num_lanes = TaskProblem(family, settings.optimizer, settings.episodes), settings.estimator.num_lanes
    theta = jax.eval_shape(settings.optimizer.init, jax.random.key(0))
    carry = jax.eval_shape(problem.reset, theta, jax.random.key(0), jnp.asarray(1))
    thetas, carries = (
        jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((num_lanes, *leaf.shape), leaf.dtype), tree)
        for tree in (theta, carry)
    )

    def step(theta, carry, data):
        tx = settings.optimizer.bind(theta, problem.max_segments * problem.steps_per_segment)
        return inner_loop.train(family, tx, carry.draw, carry.state, data, jax.random.key(0), num_steps=1)

    counts = cost.count_program(jax.jit(jax.vmap(step, in_axes=(0, 0, None))).trace(thetas, carries, family.load()[0]))
    seconds = float(np.dot(counts, cost.SECONDS))
    arrays = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(carries))
    return TaskCost(family, num_params(family), seconds / num_lanes, arrays)


def predict(settings: MetaTraining, num_samples: int = NUM_SAMPLES) -> RunCost:
    """The predicted cost of a run. Times are those of the machine that `tasks.cost` was calibrated on."""
    pairs = (
        (index, step * settings.family_steps) for step in range(num_samples) for index in range(settings.num_workers)
    )
    families = list(dict.fromkeys(worker.family_of(settings, *next(pairs)) for _ in range(num_samples)))
    tasks = tuple(map(functools.partial(predict_task, settings), families))
    theta = jax.eval_shape(settings.optimizer.init, jax.random.key(0))
    steps, lanes = mean_steps(settings), settings.estimator.num_lanes
    # Backpropagation through inner steps costs about three times as much as running them.
    factor = 3.0 if settings.estimator.backward else 1.0
    mean_seconds = float(np.mean([task.step_seconds for task in tasks]))
    execution = settings.execution
    processes = 1 if execution.executor == "local" else min(execution.num_processes, settings.num_workers)
    return RunCost(
        num_meta_parameters=sum(leaf.size for leaf in jax.tree.leaves(theta)),
        num_lanes=lanes,
        mean_steps=steps,
        tasks=tasks,
        core_seconds=settings.num_workers * lanes * steps * mean_seconds * factor,
        num_outer_steps=settings.num_steps,
        num_cores=processes * max(1.0, execution.cpus_per_process),
    )


def show(settings: MetaTraining, console: Console) -> None:
    """Prints the predicted cost.

    Its times hold for the CPU core on which `tasks.cost` was calibrated. On other CPUs they are off by about a constant
    factor; for GPUs they don't hold.
    """
    found = predict(settings)
    tasks = Table("task", "parameters", "µs a step and lane", "MB of all lanes")
    for task in found.tasks:
        name = type(innermost(task.family)).__name__
        tasks.add_row(
            name, f"{task.num_params:,}", f"{task.step_seconds * 1e6:,.0f}", f"{task.memory_bytes / 1e6:,.1f}"
        )
    console.print(tasks)
    execution = settings.execution
    staleness = (
        f"asynchronous, up to {settings.max_staleness} updates late" if settings.max_staleness else "synchronous"
    )
    theta_bytes = 4 * found.num_meta_parameters
    sent = settings.estimator.seeded and not execution.send_gradients
    up = settings.num_workers * (4 * found.num_lanes // 2 if sent else theta_bytes)
    lines = {
        "meta-parameters": f"{found.num_meta_parameters:,}",
        "estimator": repr(settings.estimator),
        "workers": f"{settings.num_workers} contributions of {found.num_lanes} lanes, {staleness}",
        "inner steps": f"{found.mean_steps:,.0f} a lane on average, "
        f"{settings.num_workers * found.num_lanes * found.mean_steps:,.0f} an outer step",
        "outer step": f"about {found.core_seconds:,.0f} core-seconds, compilation apart",
        "processes": f"{execution.num_processes} of {execution.cpus_per_process:g} CPUs and "
        f"{execution.gpus_per_process:g} GPUs ({execution.executor}{_at(execution.address)})",
        "memory": f"up to {max(task.memory_bytes for task in found.tasks) / 1e6:,.0f} MB of lanes a process, before "
        "temporaries, compiled programs and data",
        "network": f"{theta_bytes / 1e6:,.2f} MB down to each node, {up / 1e6:,.2f} MB up an outer step",
        "run": f"{found.num_outer_steps:,} outer steps, about {found.hours:,.1f} h, "
        f"{found.hours * found.num_cores:,.0f} core-hours",
    }
    summary = Table.grid(padding=(0, 2))
    for name, text in lines.items():
        summary.add_row(name, text)
    console.print(summary)


def _at(address: str | None) -> str:
    return f" at {address}" if address else ""
