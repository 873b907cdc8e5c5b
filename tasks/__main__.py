"""`python -m tasks`: what tasks there are, what a mixture gives, and what one task looks like under Adam."""

import argparse
import dataclasses
import sys
from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np

from tasks import adam_grid, cost, fixed
from tasks.data import SOURCES, is_here
from tasks.family import TaskFamily, num_params
from tasks.mixture import FAMILIES, MIXTURES, get_mixture

PICTURE_SHAPE = (12, 64)
SHOW_RATE = 3e-3


def _write(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def _measures(family: TaskFamily) -> str:
    """Parameters and predicted milliseconds of a step; the second needs the data."""
    if not is_here(family.dataset):
        return f"{num_params(family):>10,}  no data"
    return f"{num_params(family):>10,}  {1e3 * cost.predict_step_seconds(family):6.2f} ms"


def describe_all() -> Iterable[str]:
    """Lines about families, mixtures, suites and data sets."""
    yield "families (with their default architecture: parameters, predicted time of a step)"
    for name in sorted(FAMILIES):
        yield f"  {name:<26}{_measures(FAMILIES[name]())}"
    yield "mixtures"
    for name, mixture in sorted(MIXTURES.items()):
        yield f"  {name:<26}{len(mixture.families):>3} families, augmentation {mixture.augmentation}"
    for suite, names in sorted(fixed.SUITES.items()):
        yield f"suite {suite}"
        for name in names:
            task = fixed.TASKS[name]
            yield f"  {name:<26}{_measures(task.family)}  {task.num_steps:>6} steps  on {task.family.dataset}"
    yield "data sets"
    for name, source in sorted(SOURCES.items()):
        yield f"  {name:<26}{source.kind:<8}{'here' if is_here(name) else 'not here'}"


def describe_samples(mixture: str, num: int, seed: int) -> Iterable[str]:
    """A line for each of `num` samples: parameters, predicted time of a step, and the family."""
    for index in range(num):
        family = get_mixture(mixture).sample(np.random.default_rng((seed, index)))
        yield f"{_measures(family)}  {family}"


def draw_curve(losses: np.ndarray) -> Iterable[str]:
    """A loss curve in characters, with a logarithmic scale of losses."""
    height, width = PICTURE_SHAPE
    values = np.array([chunk.mean() for chunk in np.array_split(losses, min(width, len(losses)))])
    logs = np.log(np.maximum(np.nan_to_num(values, nan=np.inf, posinf=1e30), 1e-30))
    low, high = float(logs.min()), float(logs.max())
    rows = np.round((high - logs) / max(high - low, 1e-9) * (height - 1)).astype(int)
    for row in range(height):
        label = f"{np.exp(high - (high - low) * row / (height - 1)):10.4g} |"
        yield label + "".join("*" if place == row else " " for place in rows)
    yield " " * 11 + "+" + "-" * len(values) + f" {len(losses)} steps"


def describe_task(name: str) -> Iterable[str]:
    """The fields of a fixed task and a picture of Adam's training loss at a rate of .003."""
    if name not in fixed.TASKS:
        raise ValueError(f"unknown task {name!r}; known: {', '.join(sorted(fixed.TASKS))}")
    task = fixed.TASKS[name]
    yield f"{task.name}: {type(task.family).__name__}, {num_params(task.family):,} parameters, {task.num_steps} steps"
    for field in dataclasses.fields(cast(Any, task.family)):
        yield f"  {field.name} = {getattr(task.family, field.name)}"
    yield f"Adam, rate {SHOW_RATE}; a guess that ignores its input has a loss of {task.family.reference_loss:.3f}"
    yield from draw_curve(adam_grid.curves(task, [SHOW_RATE], [0])[0])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tasks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="families, mixtures, suites and data sets")
    sample = commands.add_parser("sample", help="architectures that a mixture draws")
    sample.add_argument("num", type=int)
    sample.add_argument("--seed", type=int, default=0)
    sample.add_argument("--mixture", default="broad", choices=sorted(MIXTURES))
    show = commands.add_parser("show", help="one task of a suite, with a learning curve")
    show.add_argument("name")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns 2 where the request makes no sense."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "list":
            _write(describe_all())
        elif options.command == "sample":
            _write(describe_samples(options.mixture, options.num, options.seed))
        else:
            _write(describe_task(options.name))
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
