"""Runs an evaluation from its settings to its report."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from evaluation.baselines import BASELINES
from evaluation.contender import Contender
from evaluation.report import page, terminal
from evaluation.results import Results
from evaluation.settings import REFERENCE, Evaluation
from evaluation.store import Store
from evaluation.sweep import Sweep
from tasks.fixed import get_suite
from velo.learned_optimizer import LearnedOptimizer, Theta

CURVES_FOLDER = "curves"
PAGE_NAME = "report.html"


def evaluate(
    settings: Evaluation,
    optimizers: Mapping[str, tuple[LearnedOptimizer, Theta]],
    out: Path,
    *,
    notes: Sequence[str] = (),
    meta_training: Sequence[tuple[int, float]] = (),
    console: Console | None = None,
) -> Path:
    """Runs every optimizer and baseline on every task of the suite; prints the table; returns the report's path.

    Writes `out/curves/*.parquet` and `out/report.html`. Curves that are in `out/curves` already are used as they are,
    so an interrupted evaluation goes on where it was, and evaluations into one folder share their baselines.

    Args:
        optimizers: name -> (optimizer, weights), in the order of the report.
        notes: paragraphs for the report on what these optimizers can and can't do.
        meta_training: (outer step, meta-loss) pairs to draw above the results.

    Raises:
        ValueError: in one line, on names that clash.
        OSError: in one line, on a folder that can't be written.
    """
    console = console or Console()
    contenders = _contenders(settings, optimizers)
    tasks = [
        dataclasses.replace(task, num_steps=settings.scale_steps(task.num_steps)) for task in get_suite(settings.suite)
    ]
    sweep = Sweep(settings, Store(Path(out) / CURVES_FOLDER))
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    )  # fmt: skip
    entries = []
    with Progress(*columns, console=console) as progress:
        total = sum(sweep.num_steps(task, contender) for task in tasks for contender in contenders)
        bar = progress.add_task("evaluating", total=total)
        for task in tasks:
            for contender in contenders:
                progress.update(bar, description=f"{task.name}: {contender.name}")
                begin = time.perf_counter()
                entries.append(sweep.entry(task, contender, lambda num_steps: progress.advance(bar, num_steps)))
                seconds = time.perf_counter() - begin
                progress.console.print(f"{task.name}: {contender.name} done in {seconds:.1f} s", style="dim")
        progress.update(bar, description="all curves on disk")
    results = Results(
        tasks=tuple(task.name for task in tasks),
        optimizers=tuple(contender.name for contender in contenders),
        reference=REFERENCE,
        entries=tuple(entries),
    )
    rows = results.rows()
    console.print(terminal.table(rows, settings))
    path = Path(out) / PAGE_NAME
    page.write(path, settings, results, rows, notes=notes, meta_training=meta_training)
    console.print(f"report: {path}", soft_wrap=True)
    return path


def _contenders(settings: Evaluation, optimizers: Mapping[str, tuple[LearnedOptimizer, Theta]]) -> list[Contender]:
    for name in optimizers:
        if name in settings.baselines:
            raise ValueError(f"optimizer {name!r} has the name of a baseline: give it another")
        if not name:
            raise ValueError("an optimizer needs a name that isn't empty")
    learned = [Contender(name, optimizer, theta) for name, (optimizer, theta) in optimizers.items()]
    return [*learned, *(Contender(name, BASELINES[name]) for name in settings.baselines)]
