"""How the cost of an update and of meta-training grows with parameters, tensors, lanes and workers.

    python benchmarks/scaling.py [--only parameters tensors lanes workers] [--json FILE]

Each row is compared with the previous one of the same run. The growth is given per doubling of the size: "x 2.00" is a
cost that doubles when the size does. Parameters, tensors and lanes are measured in CPU time of one core, the minimum
over repetitions, with programs of different sizes taking turns. Workers are Ray processes that share the contributions
of an outer step; runs with one and with two of them take turns. Contributions per second of wall-clock time are the
throughput of a run, which other programs on the machine lower. CPU time per contribution inside the workers shows
whether they compete for cache and memory, but not whether one of them waits.
"""

import argparse
import dataclasses
import itertools
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from meta_train import environment

environment.apply()

import jax  # noqa: E402  (the variables have to be set first)
import meta_step  # noqa: E402
import update_step  # noqa: E402

from configs.meta_training import PRESETS  # noqa: E402
from meta_train.estimators.pes import PES  # noqa: E402
from meta_train.ray_executor import RayExecutor  # noqa: E402
from meta_train.ray_worker import RayWorker  # noqa: E402
from meta_train.task_problem import Episodes, TaskProblem  # noqa: E402

WARM_UP_STEPS = 3
NUM_LOGICAL_WORKERS = 4
TENSOR_WIDTH = 64


@dataclasses.dataclass(frozen=True)
class Result:
    what: str
    size: int
    cpu_seconds: float
    """CPU seconds of an update, of an outer step of one worker, or of a contribution."""
    growth: float = math.nan
    """Factor on the CPU time for a doubling of the size."""
    first_call_seconds: float | None = None
    contributions_per_second: float | None = None
    """Per second of wall-clock time."""


def compare(results: list[Result]) -> list[Result]:
    """The results, with the growth from each one to the next for a doubling of the size."""
    compared = results[:1]
    for before, result in itertools.pairwise(results):
        doublings = math.log2(result.size / before.size)
        growth = (result.cpu_seconds / before.cpu_seconds) ** (1 / doublings)
        compared.append(dataclasses.replace(result, growth=growth))
    return compared


def in_turns(functions: list[Callable[[], float]], repetitions: int) -> list[float]:
    """The minimum of what each function returns, called in turns and without its first call."""
    seconds = [[once() for once in functions] for _ in range(repetitions + 1)][1:]
    return [min(column) for column in zip(*seconds, strict=True)]


def updates(what: str, trees: dict[int, list[tuple[int, ...]]], optimizer: str, repetitions: int) -> list[Result]:
    """Measures an update of each tree; `trees` maps sizes to shapes."""
    tx = update_step.optimizers()[optimizer]
    prepared = [update_step.prepare(optimizer, tx, shapes) for shapes in trees.values()]
    seconds = in_turns([once for _, once in prepared], repetitions)
    return compare(
        [
            Result(what, size, cost, first_call_seconds=result.first_call_seconds)
            for size, cost, (result, _) in zip(trees, seconds, prepared, strict=True)
        ]
    )


def parameters(optimizer: str, repetitions: int, largest: float) -> list[Result]:
    trees = [update_step.transformer(largest / 2**halvings) for halvings in (4, 3, 2, 1, 0)]
    return updates("parameters", {sum(map(math.prod, tree)): tree for tree in trees}, optimizer, repetitions)


def tensors(optimizer: str, repetitions: int, num_parameters: float) -> list[Result]:
    """The same number of parameters in more and more tensors."""
    trees = {}
    for count in (32, 64, 128, 256, 512):
        rows = max(1, round(num_parameters / count / TENSOR_WIDTH))
        trees[count] = [(rows, TENSOR_WIDTH)] * count
    return updates("tensors", trees, optimizer, repetitions)


def lanes(repetitions: int, largest: int) -> list[Result]:
    """An outer step of PES on the named setting of `meta_step`, with more and more perturbed copies."""
    sizes = sorted({max(2, largest // 2**halvings) for halvings in (3, 2, 1, 0)})
    prepared = [prepare_lanes(size) for size in sizes]
    seconds = in_turns([once for _, once in prepared], repetitions)
    results = zip(sizes, seconds, prepared, strict=True)
    return compare([Result("lanes", size, cost, first_call_seconds=first) for size, cost, (first, _) in results])


def prepare_lanes(num_lanes: int) -> tuple[float, Callable[[], float]]:
    """(CPU seconds to trace and compile an outer step, function that does one and returns its CPU seconds)."""
    optimizer = meta_step.SIZES["LSTM 16, bank 4"]
    estimator = PES(num_pairs=num_lanes // 2)
    episodes = Episodes(segment_steps=meta_step.SEGMENT_STEPS, min_steps=100, max_steps=1000)
    problem = TaskProblem(meta_step.FAMILY, optimizer, episodes)
    theta, data = optimizer.init(jax.random.key(0)), problem.data()
    state = jax.jit(lambda theta, key: estimator.init(problem, theta, data, key))(theta, jax.random.key(1))
    begin = time.process_time()
    step = jax.jit(lambda state, theta, data, key: estimator.estimate(problem, theta, state, data, key))
    compiled = step.lower(state, theta, data, jax.random.key(2)).compile()
    first_call = time.process_time() - begin
    held = [state]

    def once() -> float:
        begin = time.process_time()
        _, state = jax.block_until_ready(compiled(held.pop(), theta, data, jax.random.key(2)))
        held.append(state)
        return time.process_time() - begin

    return first_call, once


class MeteredWorker(RayWorker):
    """Reports the CPU seconds of a contribution in place of its wall-clock seconds."""

    def compute_stateless(self, theta, theta_step, step, index):
        begin = time.process_time()
        contribution = super().compute_stateless(theta, theta_step, step, index)
        return contribution._replace(seconds=time.process_time() - begin)


class MeteredExecutor(RayExecutor):
    worker_class = MeteredWorker


def workers(rounds: int, num_steps: int, inner_steps: int) -> list[Result]:
    """Measures one and two worker processes in turns, on outer steps of four contributions of one task and length."""
    measured: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    for number in range(rounds):
        for num_processes in sorted(measured, reverse=bool(number % 2)):
            measured[num_processes].append(throughput(num_processes, num_steps, inner_steps))
    results = []
    for num_processes, rows in measured.items():
        rates, seconds = zip(*rows, strict=True)
        results.append(
            Result("workers", num_processes, statistics.median(seconds), contributions_per_second=max(rates))
        )
    return compare(results)


def throughput(num_processes: int, num_steps: int, inner_steps: int) -> tuple[float, float]:
    """(contributions per second of wall-clock time, median CPU seconds of one)."""
    demo = PRESETS["demo"].settings
    settings = dataclasses.replace(
        demo,
        num_workers=NUM_LOGICAL_WORKERS,
        family_pool=1,
        episodes=dataclasses.replace(demo.episodes, min_steps=inner_steps, max_steps=inner_steps),
        execution=dataclasses.replace(demo.execution, executor="ray", num_processes=num_processes),
    )
    theta = jax.device_get(settings.optimizer.init(jax.random.key(0)))
    executor = MeteredExecutor(settings)
    try:
        seconds, began = [], 0.0
        for step in range(WARM_UP_STEPS + num_steps):
            if step == WARM_UP_STEPS:  # by now all processes have started and compiled
                seconds, began = [], time.perf_counter()
            contributions, _ = executor.compute(theta, step)
            seconds += [contribution.seconds for contribution in contributions]
        return len(seconds) / (time.perf_counter() - began), statistics.median(seconds)
    finally:
        executor.close()


def show(results: list[Result]) -> None:
    for result in results:
        line = f"  {result.size:10,} {result.what:10s} {1e3 * result.cpu_seconds:9.3f} CPU-ms"
        line += "" if math.isnan(result.growth) else f"   x {result.growth:4.2f} for a doubling"
        if result.first_call_seconds is not None:
            line += f"   traced and compiled in {result.first_call_seconds:5.1f} CPU-s"
        if result.contributions_per_second is not None:
            ratio = result.contributions_per_second / results[0].contributions_per_second
            line += f"   {result.contributions_per_second:6.2f} contributions a second by the clock, x {ratio:4.2f}"
        print(line, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = ("parameters", "tensors", "lanes", "workers")
    parser.add_argument("--only", nargs="*", choices=kinds, default=kinds, help="what grows")
    parser.add_argument("--optimizer", choices=update_step.optimizers(), default="VeLO", help="whose updates")
    parser.add_argument("--parameters", type=float, default=1.6e6, help="of the largest tree")
    parser.add_argument("--lanes", type=int, default=64, help="the most of them")
    parser.add_argument("--inner-steps", type=int, default=1000, help="of a contribution's episode")
    parser.add_argument("--outer-steps", type=int, default=4, help="that are timed with each number of workers")
    parser.add_argument("--rounds", type=int, default=2, help="of one and of two workers, in turns")
    parser.add_argument("--repetitions", type=int, default=15, help="of updates and of outer steps with each size")
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments = parser.parse_args()
    measurements: dict[str, Callable[[], list[Result]]] = {
        "parameters": lambda: parameters(arguments.optimizer, arguments.repetitions, arguments.parameters),
        "tensors": lambda: tensors(arguments.optimizer, arguments.repetitions, arguments.parameters / 4),
        "lanes": lambda: lanes(arguments.repetitions, arguments.lanes),
        "workers": lambda: workers(arguments.rounds, arguments.outer_steps, arguments.inner_steps),
    }
    results = []
    for kind in arguments.only:
        of = f", updates of {arguments.optimizer}" if kind in ("parameters", "tensors") else ""
        print(f"{kind}{of}")
        rows = measurements[kind]()
        show(rows)
        results += rows
    if arguments.json:
        table = [{key: value for key, value in dataclasses.asdict(row).items() if value == value} for row in results]
        arguments.json.write_text(json.dumps({**update_step.machine(), "results": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
