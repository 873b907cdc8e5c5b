"""What a run leaves behind while it goes: metrics and events as lines of JSON, and the metrics for TensorBoard."""

import contextlib
import json
import threading
import time
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter


class Lines:
    """Appends lines to a file; those that a full disk refuses are kept and written with the next."""

    def __init__(self, path: Path):
        self._path = path
        self._waiting: list[str] = []
        self._lock = threading.Lock()  # checkpoints are written, and report, beside the run

    def write(self, line: dict[str, Any]) -> None:
        with self._lock:
            self._waiting.append(json.dumps(line) + "\n")
            self._flush()

    def _flush(self) -> None:
        content = "".join(self._waiting).encode()
        try:
            with self._path.open("ab", buffering=0) as file:
                size = file.tell()
                if file.write(content) != len(content):
                    file.truncate(size)
                    return
        except OSError:
            return
        self._waiting = []


class RunLog:
    """`metrics.jsonl` has a line an outer step, `validation.jsonl` one a look at fixed tasks, `events.jsonl` one for
    whatever else happens, with its time. On a resume, later steps are forgotten; events stay.
    """

    def __init__(self, folder: Path, first_step: int):
        self._metrics = _forget(folder / "metrics.jsonl", first_step)
        self._validations = _forget(folder / "validation.jsonl", first_step + 1)
        self._events = Lines(folder / "events.jsonl")
        self._tensorboard = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step)

    def write(self, step: int, metrics: dict[str, Any]) -> None:
        self._metrics.write({"step": step} | metrics)
        for name, value in metrics.items():
            if isinstance(value, int | float):
                self._tensorboard.add_scalar(name, value, step)

    def validation(self, step: int, loss: float, tasks: dict[str, Any]) -> None:
        self._validations.write({"step": step, "loss": loss, "tasks": tasks})
        self._tensorboard.add_scalar("validation_loss", loss, step)

    def event(self, kind: str, **facts: Any) -> None:
        self._events.write({"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": kind} | facts)

    def close(self) -> None:
        self._tensorboard.close()


def _forget(path: Path, first_step: int) -> Lines:
    if path.exists():
        temporary = path.with_suffix(".tmp")
        kept = [line for line in _read(path) if line["step"] < first_step]
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
        temporary.replace(path)
    return Lines(path)


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
    for line in path.read_text().splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            lines.append(json.loads(line))
    return lines
