"""The clock: how long a step of each contender takes, side by side on one core.

The seconds stored with the curves depend on what else the machine did at that time. The clock measures again, on a
machine that does nothing else: the process keeps to one core, contenders take turns, each repetition reverses their
order, and the least of several repetitions counts, since any disturbance makes a step longer.
"""

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from evaluation import training
from evaluation.compiled_programs import CompiledPrograms
from evaluation.curves import Entry, Pace, Results
from evaluation.settings import Contender, Evaluation, Procedure
from evaluation.training import Lane, Program
from tasks.fixed import FixedTask
from velo.atomic_file import write_atomically

FILE_NAME = "clock.json"
FORMAT = 1
THREADS_FOLDER = Path("/proc/self/task")
"""Where Linux lists the threads of a process."""


@dataclasses.dataclass(frozen=True)
class Clock:
    """Measures the contenders of a task in turns."""

    num_repetitions: int = 9

    def __post_init__(self):
        if not 1 <= self.num_repetitions <= 1000:
            raise ValueError(f"Clock: num_repetitions must be in [1, 1000], got {self.num_repetitions}")

    def paces(
        self, task: FixedTask, contenders: Sequence[Contender], entries: Sequence[Entry], procedure: Procedure
    ) -> list[Pace]:
        """The pace of every contender on a task, at the setting that its entry reports.

        A repetition is one segment between two checkpoints, as training runs it. It always starts from the state after
        the first segment, which serves as warm-up.
        """
        num_steps = training.segment_lengths(task.num_steps, procedure.num_checkpoints)[0]
        calls = [
            _segment(task, contender, Lane(entry.reported[0].hyperparameters, procedure.seeds[0]), num_steps)
            for contender, entry in zip(contenders, entries, strict=True)
        ]
        best = [(float("inf"), 0.0)] * len(calls)
        with one_core():
            for repetition in range(self.num_repetitions):
                order = range(len(calls))
                for index in order if repetition % 2 == 0 else reversed(order):
                    best[index] = min(best[index], _timed(calls[index]))
        return [
            Pace(task.name, contender.name, entry.reported[0].key, seconds / num_steps, cpu_seconds / seconds)
            for contender, entry, (seconds, cpu_seconds) in zip(contenders, entries, best, strict=True)
        ]


def _segment(task: FixedTask, contender: Contender, lane: Lane, num_steps: int):
    """A compiled function that trains the same `num_steps` steps at every call; it has been warmed up."""
    program = Program(task.family, contender.optimizer, task.num_steps, records_step_sizes=False)
    train, _ = task.family.load()
    theta, hyperparameters, seeds = training.arguments(contender, [lane])
    programs = CompiledPrograms()
    start = programs.get(training.start, (program,), theta, hyperparameters, seeds)
    draws, states = start.executable(theta, hyperparameters, seeds)
    arguments = theta, hyperparameters, seeds, draws, states, train
    advance = programs.get(training.advance, (program, num_steps), *arguments)
    later, _ = advance.executable(*arguments)
    arguments = jax.block_until_ready((theta, hyperparameters, seeds, draws, later, train))
    return lambda: jax.block_until_ready(advance.executable(*arguments))


def _timed(call) -> tuple[float, float]:
    """(wall-clock seconds, processor seconds) of a call."""
    begin, cpu_begin = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - begin, time.process_time() - cpu_begin


@contextlib.contextmanager
def one_core() -> Iterator[int | None]:
    """Keeps all threads of this process to one core; yields its number, None on a system that can't do so."""
    if not hasattr(os, "sched_setaffinity") or not THREADS_FOLDER.is_dir():
        yield None
        return
    allowed = os.sched_getaffinity(0)
    core = max(allowed)  # the operating system's own work tends to run on the first cores
    try:
        _keep_to({core})
        yield core
    finally:
        _keep_to(allowed)


def _keep_to(cores: set[int]) -> None:
    """Restricts all existing threads to these cores; a later thread inherits the cores of the thread that starts it."""
    for path in THREADS_FOLDER.iterdir():
        with contextlib.suppress(ProcessLookupError):  # the thread has just ended
            os.sched_setaffinity(int(path.name), cores)


def read(out: Path) -> list[Pace]:
    """The paces in a folder; none if the clock never ran.

    Raises:
        ValueError: in one line, if the file isn't a valid record of a clock.
    """
    path = Path(out) / FILE_NAME
    if not path.is_file():
        return []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"it has format {str(content['format'])[:20]}, this version reads {FORMAT}")
        return [_pace(**pace) for pace in content["paces"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ValueError(f"{path} is no record of a clock: {reason}") from None


def _pace(**fields: Any) -> Pace:
    """A pace whose times are positive, finite numbers; raises ValueError or TypeError on anything else."""
    pace = Pace(**fields)
    if not all(isinstance(text, str) for text in (pace.task, pace.optimizer, pace.key)):
        raise TypeError("task, optimizer and key must be text")
    for name in ("seconds_per_step", "core_share"):
        value = getattr(pace, name)
        if not (isinstance(value, float) and 0 < value < float("inf")):
            raise ValueError(f"{name} must be a positive, finite number, got {str(value)[:20]}")
    return pace


def write(out: Path, paces: Sequence[Pace]) -> None:
    """Writes `out/clock.json` atomically.

    Raises:
        OSError: in one line, if the file can't be written.
    """
    content = {"format": FORMAT, "paces": [dataclasses.asdict(pace) for pace in paces]}
    write_atomically(Path(out) / FILE_NAME, json.dumps(content, indent=1) + "\n")


def clocked(results: Results, paces: Sequence[Pace]) -> Results:
    """The results with the clock's times on the tasks where it measured all contenders; other tasks are unchanged."""
    by_place = {(pace.task, pace.optimizer, pace.key): pace for pace in paces}

    def pace(entry: Entry) -> Pace | None:
        return by_place.get((entry.task, entry.optimizer, entry.reported[0].key))

    whole = {task for task in results.tasks if all(pace(entry) for entry in results.entries if entry.task == task)}
    entries = (
        dataclasses.replace(entry, pace=found) if (found := pace(entry)) and entry.task in whole else entry
        for entry in results.entries
    )
    return dataclasses.replace(results, entries=tuple(entries))


def measure(
    clock: Clock, evaluation: Evaluation, results: Results, out: Path, on_task: Callable[[str], None]
) -> list[Pace]:
    """The paces of all finished tasks, saved in `out` after each; tasks already saved there are not measured again.

    Args:
        on_task: called with the name of a task before it is measured.
    """
    paces = read(out)
    for task in evaluation.tasks:
        if task.name not in results.tasks or _is_clocked(clocked(results, paces), task.name):
            continue
        on_task(task.name)
        entries = [results.entry(task.name, contender.name) for contender in evaluation.contenders]
        new = clock.paces(task, evaluation.contenders, entries, evaluation.procedure)
        paces = [*(pace for pace in paces if pace.task != task.name), *new]
        write(out, paces)
    return paces


def _is_clocked(results: Results, task: str) -> bool:
    """Whether a task has the clock's times."""
    return all(entry.pace for entry in results.entries if entry.task == task)
