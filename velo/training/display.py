"""Progress of a run in the terminal: a bar with loss and time left; and how a run handles an interrupt."""

import contextlib
import importlib.util
import signal
import threading
from collections.abc import Callable, Iterator

from velo.extras import require


@contextlib.contextmanager
def shown(show: bool | None, first: int, num_steps: int) -> Iterator[Callable[[int, str], None]]:
    """A function of the steps done and a status; None for `show` shows a bar where rich is installed."""
    if show is False or (show is None and importlib.util.find_spec("rich") is None):
        yield lambda step, status: None
        return
    rich = require("rich.progress", "fit", "the progress bar")
    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(bar_width=24),
        rich.MofNCompleteColumn(),
        rich.TextColumn("{task.fields[status]}"),
        rich.TimeElapsedColumn(),
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns) as progress:
        bar = progress.add_task("training", total=num_steps, completed=first, status="compiling")
        yield lambda step, status: progress.update(bar, completed=step, status=status)


@contextlib.contextmanager
def interruptible() -> Iterator[list[int]]:
    """A list that receives an interrupt, for the loop to look at after each step; a second one interrupts at once."""
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
