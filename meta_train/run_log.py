"""What a run leaves behind while it goes: a line of JSON an outer step, and the same numbers for TensorBoard."""

import json
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter


class RunLog:
    """Appends to `metrics.jsonl` and to event files in `tensorboard/`; on a resume, later steps are forgotten."""

    def __init__(self, folder: Path, first_step: int):
        self._path = folder / "metrics.jsonl"
        kept = [line for line in read_metrics(folder) if line["step"] < first_step]
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
        temporary.replace(self._path)
        self._file = self._path.open("a", buffering=1)
        self._events = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step)

    def write(self, step: int, metrics: dict[str, Any]) -> None:
        self._file.write(json.dumps({"step": step} | metrics) + "\n")
        for name, value in metrics.items():
            if isinstance(value, int | float):
                self._events.add_scalar(name, value, step)

    def close(self) -> None:
        self._file.close()
        self._events.close()


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl` in order; a last line cut off by a crash is left out."""
    path = folder / "metrics.jsonl"
    if not path.exists():
        return []
    lines = []
    for line in path.read_text().splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines
