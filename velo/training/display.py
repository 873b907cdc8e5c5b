"""Progress of a run: a bar, or lines where there is no terminal; and how a run handles an interrupt."""

import contextlib
import importlib.util
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

NUM_LINES = 10
"""Approximate number of lines of a run without a terminal, in addition to that of its first step."""


class Display(NamedTuple):
    """How a run reports its progress."""

    update: Callable[[int, str], None]
    """Called with the number of steps done and a status."""
    say: Callable[[str], None]


@contextlib.contextmanager
def shown(show: bool, first: int, num_steps: int) -> Iterator[Display]:
    """A bar in a terminal or notebook where rich is installed, otherwise a line now and then; nothing if not `show`."""
    if not show:
        yield Display(lambda step, status: None, lambda text: None)
        return
    console = _console()
    if console is None:
        yield Display(_Lines(first, num_steps), _write)
        return
    import rich.progress

    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(bar_width=24),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TextColumn("{task.fields[status]}"),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TimeRemainingColumn(),
    )
    with rich.progress.Progress(*columns, console=console) as progress:
        bar = progress.add_task("training", total=num_steps, completed=first, status="compiling")
        yield Display(
            lambda step, status: progress.update(bar, completed=step, status=status),
            lambda text: console.print(text, markup=False, highlight=False),
        )


def _console() -> Any:
    """Rich's console; None without rich, or where its bar would fill a log."""
    if importlib.util.find_spec("rich") is None:
        return None
    import rich.console

    console = rich.console.Console()
    return console if console.is_terminal or console.is_jupyter else None


class _Lines:
    """A line after the first step, which compiles, after every tenth of the run, and after its last step."""

    def __init__(self, first: int, num_steps: int):
        self._num_steps = num_steps
        self._every = max(1, num_steps // NUM_LINES)
        self._next = first + 1
        self._start = time.monotonic()
        self._compiled: tuple[int, float] | None = None

    def __call__(self, step: int, status: str) -> None:
        if step < self._next and step != self._num_steps:
            return
        now = time.monotonic()
        left = ""
        if self._compiled is None:
            self._compiled = (step, now)
        elif step < self._num_steps:
            before, then = self._compiled
            left = f", {(now - then) / (step - before) * (self._num_steps - step):.0f} s left"
        _write(f"step {step}/{self._num_steps}: {status}, {now - self._start:.0f} s{left}")
        self._next = (step // self._every + 1) * self._every


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@contextlib.contextmanager
def interruptible() -> Iterator[list[int]]:
    """A list that receives an interrupt, which the loop reads after each step; a second one interrupts at once."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received  # only the main thread may handle signals
        return

    def handle(number, _frame):
        if received:
            raise KeyboardInterrupt
        received.append(number)

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield received
    finally:
        signal.signal(signal.SIGINT, previous)
