"""Default output folders."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

from configs.command_line import CommandLineError

RUNS = Path("runs")


def new(preset: str) -> Path:
    """`runs/PRESET`, or `runs/PRESET-2` and so on: the first that doesn't exist."""
    return next(folder for folder in _candidates(preset) if not folder.exists())


def latest(preset: str) -> Path:
    """The last folder of this preset that exists; a CommandLineError if there is none."""
    folders = list(itertools.takewhile(Path.exists, _candidates(preset)))
    if not folders:
        raise CommandLineError(f"there is no {RUNS / preset} to resume; name the run's folder with --out")
    return folders[-1]


def unfinished(preset: str, is_unfinished: Callable[[Path], bool]) -> Path:
    """The last folder of this preset if what it holds is unfinished, otherwise a new one."""
    try:
        last = latest(preset)
    except CommandLineError:
        return new(preset)
    return last if is_unfinished(last) else new(preset)


def _candidates(preset: str) -> Iterator[Path]:
    yield RUNS / preset
    for number in itertools.count(2):
        yield RUNS / f"{preset}-{number}"
