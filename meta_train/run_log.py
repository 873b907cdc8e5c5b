"""The log of a run: metrics and events as lines of JSON, and the metrics for TensorBoard."""

import contextlib
import json
import time
from pathlib import Path
from typing import Any

from meta_train.appender import Appender
from meta_train.tensorboard import TensorBoard
from velo.atomic_file import write_atomically


class RunLog:
    """Writes the log files of a run's folder.

    `metrics.jsonl` has a line for each outer step, `validation.jsonl` one for each validation, and `events.jsonl` one
    for anything else, with its time. A resume deletes the lines of later steps, but no events.

    Args:
        folder: of the run.
        first_step: outer steps done before; 0 for a new run.
    """

    def __init__(self, folder: Path, first_step: int):
        self._metrics = _forget(folder / "metrics.jsonl", first_step)
        self._validations = _forget(folder / "validation.jsonl", first_step + 1)
        self._events = Appender(folder / "events.jsonl")
        self._tensorboard = TensorBoard(folder / "tensorboard", first_step)

    def write(self, step: int, metrics: dict[str, Any]) -> None:
        """The metrics of an outer step; numbers go to TensorBoard as well."""
        self._metrics.write(_line({"step": step} | metrics))
        self._tensorboard.write(step, {name: x for name, x in metrics.items() if isinstance(x, int | float)})

    def validation(self, step: int, loss: float, tasks: dict[str, Any]) -> None:
        """The mean validation loss after `step` outer steps, and that of each task."""
        self._validations.write(_line({"step": step, "loss": loss, "tasks": tasks}))
        self._tensorboard.write(step, {"validation_loss": loss})

    def event(self, kind: str, **facts: Any) -> None:
        """Anything else that happened, with the time."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._events.write(_line({"time": now, "event": kind} | facts))


def _line(content: dict[str, Any]) -> bytes:
    return (json.dumps(content) + "\n").encode()


def _forget(path: Path, first_step: int) -> Appender:
    if path.exists():
        kept = [line for line in _read(path) if isinstance(line.get("step"), int) and line["step"] < first_step]
        write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept))
    return Appender(path)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl` in order; a line cut off by a crash is left out."""
    return _read(folder / "metrics.jsonl")


def read_validation(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's `validation.jsonl`, in order."""
    return _read(folder / "validation.jsonl")


def read_events(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's `events.jsonl`, in order."""
    return _read(folder / "events.jsonl")


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    lines = []
    for line in path.read_text(errors="replace").splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            lines.append(json.loads(line))
    return [line for line in lines if isinstance(line, dict)]
