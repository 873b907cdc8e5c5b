"""`python -m tasks`: lists tasks, samples mixtures, and shows what Adam does to a task."""

import argparse
import dataclasses
import difflib
import itertools
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from tasks import adam_grid, cost, fixed, pictures
from tasks.data import SOURCES, is_here
from tasks.data.missing import MissingDataError
from tasks.family import TaskFamily, num_params
from tasks.mixture import FAMILIES, MIXTURES, TaskMixture, WeightedMixtures, get_mixture
from tasks.pictures import Sample
from tasks.wrappers.wrapper import innermost

PICTURE_SHAPE = (12, 64)
"""Rows and columns of a loss curve in characters."""
SHOW_RATE = 3e-3


def _write(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def _measures(family: TaskFamily) -> str:
    """Number of parameters and predicted milliseconds of a step; no time if the data are missing."""
    if not is_here(family.dataset):
        return f"{num_params(family):>10,}  no data"
    return f"{num_params(family):>10,}  {1e3 * cost.predict_step_seconds(family):6.2f} ms"


def describe_all() -> Iterable[str]:
    """Lines that list families, mixtures, suites and data sets."""
    yield "families (with their default architecture: parameters, predicted time of a step)"
    for name in sorted(FAMILIES):
        yield f"  {name:<26}{_measures(FAMILIES[name]())}"
    yield "mixtures"
    for name, mixture in sorted(MIXTURES.items()):
        yield f"  {name:<26}{describe_mixture(mixture)}"
    for suite, names in sorted(fixed.SUITES.items()):
        yield f"suite {suite}"
        for name in names:
            task = fixed.TASKS[name]
            yield f"  {name:<52}{_measures(task.family)}  {task.num_steps:>6} steps  on {task.family.dataset}"
    yield "data sets"
    for name, source in sorted(SOURCES.items()):
        yield f"  {name:<26}{source.kind:<8}{'here' if is_here(name) else 'not here'}"


def describe_mixture(mixture: TaskMixture | WeightedMixtures) -> str:
    """Number of families, augmentation and normalisation (of the first part), and caps on the time of a step."""
    weighted = mixture.parts if isinstance(mixture, WeightedMixtures) else ((mixture, 1.0),)
    parts = [part for part, _ in weighted if isinstance(part, TaskMixture)]
    num_families = len({family for part in parts for family, _ in part.families})
    caps = sorted(part.max_step_seconds for part in parts if part.max_step_seconds is not None)
    ending = f", a step under {' or '.join(f'{1e3 * cap:g}' for cap in caps)} ms" if caps else ""
    one = parts[0]
    return f"{num_families:>3} families, augmentation {one.augmentation}, {one.normalization} losses{ending}"


def describe_samples(mixtures: Sequence[str], num: int, seed: int, picture: Path | None = None) -> Iterable[str]:
    """A line for each of `num` samples of each mixture: parameters, predicted time of a step, and the family.

    With `picture`, also writes histograms of the samples to that file.
    """
    drawn: dict[str, list[Sample]] = {mixture: [] for mixture in mixtures}
    for mixture, index in itertools.product(mixtures, range(num)):
        family = get_mixture(mixture).sample(np.random.default_rng((seed, index)))
        yield f"{_measures(family)}  {family}"
        if picture:
            seconds = cost.predict_step_seconds(family) if is_here(family.dataset) else math.nan
            drawn[mixture].append(Sample(type(innermost(family)).__name__, num_params(family), seconds))
    if picture:
        pictures.draw_samples(picture, drawn)
        yield f"wrote {picture}"


def draw_curve(losses: np.ndarray) -> Iterable[str]:
    """Lines that draw losses [steps] in characters, on a logarithmic scale."""
    height, width = PICTURE_SHAPE
    values = np.array([chunk.mean() for chunk in np.array_split(losses, min(width, len(losses)))])
    logs = np.log(np.maximum(np.nan_to_num(values, nan=np.inf, posinf=1e30), 1e-30))
    low, high = float(logs.min()), float(logs.max())
    rows = np.round((high - logs) / max(high - low, 1e-9) * (height - 1)).astype(int)
    for row in range(height):
        label = f"{np.exp(high - (high - low) * row / (height - 1)):10.4g} |"
        yield label + "".join("*" if place == row else " " for place in rows)
    yield " " * 11 + "+" + "-" * len(values) + f" {len(losses)} steps"


def describe_task(name: str, picture: Path | None = None) -> Iterable[str]:
    """The fields of a fixed task, and Adam's training loss at a learning rate of .003 in characters.

    With `picture`, also writes the loss curve to that file.

    Raises:
        ValueError: there is no task of that name.
    """
    if name not in fixed.TASKS:
        close = ", ".join(difflib.get_close_matches(name, fixed.TASKS)) or "none"
        raise ValueError(f"unknown task {name!r}; close to it: {close}; python -m tasks list names all")
    task = fixed.TASKS[name]
    yield f"{task.name}: {type(task.family).__name__}, {num_params(task.family):,} parameters, {task.num_steps} steps"
    for field in dataclasses.fields(cast(Any, task.family)):
        yield f"  {field.name} = {getattr(task.family, field.name)}"
    yield f"Adam, rate {SHOW_RATE}; a guess that ignores its input has a loss of {task.family.reference_loss:.3f}"
    losses = adam_grid.curves(task, [SHOW_RATE], [0])[0]
    yield from draw_curve(losses)
    if picture:
        pictures.draw_curve(picture, losses, f"{task.name}: Adam, rate {SHOW_RATE}", task.family.reference_loss)
        yield f"wrote {picture}"


def time_suite(name: str, max_steps: int | None) -> Iterable[str]:
    """A line for each task: first and final loss of Adam at a learning rate of .003, and processor seconds of the run.

    `max_steps` shortens longer tasks.
    """
    for task in fixed.get_suite(name):
        task = dataclasses.replace(task, num_steps=min(task.num_steps, max_steps or task.num_steps))
        losses, seconds = adam_grid.time_run(task, SHOW_RATE)
        last = adam_grid.final_losses(losses[None])[0]
        yield f"{task.name:<26}{task.num_steps:>6} steps  {losses[0]:8.3f} -> {last:8.3f}  {seconds:7.1f} s"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tasks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="families, mixtures, suites and data sets")
    sample = commands.add_parser("sample", help="architectures that a mixture draws")
    sample.add_argument("num", type=int)
    sample.add_argument("--seed", type=int, default=0)
    sample.add_argument("--mixture", nargs="+", default=["broad"], choices=sorted(MIXTURES))
    sample.add_argument("--picture", type=Path, help="file for histograms (.png, .svg or .pdf)")
    show = commands.add_parser("show", help="one task of a suite, with a learning curve")
    show.add_argument("name")
    show.add_argument("--picture", type=Path, help="file for the learning curve (.png, .svg or .pdf)")
    timing = commands.add_parser("time", help="runs Adam on each task of a suite: losses and processor time")
    timing.add_argument("suite", choices=sorted(fixed.SUITES))
    timing.add_argument("--steps", type=int, help="stop earlier than the tasks do")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status, 2 for a request that can't be met."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "list":
            _write(describe_all())
        elif options.command == "sample":
            _write(describe_samples(options.mixture, options.num, options.seed, options.picture))
        elif options.command == "time":
            _write(time_suite(options.suite, options.steps))
        else:
            _write(describe_task(options.name, options.picture))
    except (MissingDataError, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
