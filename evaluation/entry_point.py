"""Runs an evaluation from its settings to its report."""

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from evaluation import plan, ray_workers, specification
from evaluation import saved_evaluation as manifest
from evaluation.contender import Contender
from evaluation.curve_store import Store
from evaluation.plan import Optimizers
from evaluation.report import writer
from evaluation.results import Entry, Results
from evaluation.resumable_sweep import Sweep
from evaluation.saved_evaluation import CURVES_FOLDER, Manifest
from evaluation.settings import Evaluation
from tasks.fixed import FixedTask


def evaluate(
    settings: Evaluation,
    optimizers: Optimizers,
    out: Path,
    *,
    notes: Sequence[str] = (),
    meta_training: Sequence[tuple[int, float]] = (),
    console: Console | None = None,
) -> Path:
    """Runs every optimizer on every task; prints the table; returns the path of the page.

    Writes `out/curves/*.parquet`, `out/evaluation.json` and the report (`evaluation.report.writer`). Curves that are
    in `out/curves` already are used as they are, so an interrupted evaluation goes on where it was, and evaluations
    into one folder share what they have in common.

    Args:
        optimizers: name -> (optimizer, weights), reported before those that the settings name.
        notes: paragraphs for the report on what these optimizers can and can't do.
        meta_training: (outer step, meta-loss) pairs to draw above the results.

    Raises:
        ValueError: in one line, on names that clash.
        OSError: in one line, on a folder that can't be written.
    """
    console = console or Console()
    out = Path(out)
    contenders, tasks = plan.contenders(settings, optimizers), plan.tasks(settings)
    sweep = Sweep(settings, Store(out / CURVES_FOLDER))
    reference = next(contender.name for contender in contenders if specification.is_reference(contender))

    def record(entries: list[Entry]) -> Manifest:
        done = {
            entry.task for entry in entries if sum(other.task == entry.task for other in entries) == len(contenders)
        }
        results = Results(
            tasks=tuple(task.name for task in tasks if task.name in done),
            optimizers=tuple(contender.name for contender in contenders),
            reference=reference,
            entries=tuple(entries),
        )
        found = Manifest(settings, results, tuple(notes), tuple(meta_training))
        manifest.write(out, found, [task.name for task in tasks])
        return found

    pairs = plan.pairs(settings, optimizers)
    if settings.num_workers:
        ray_workers.fill(settings, optimizers, out / CURVES_FOLDER, console)
    entries: list[Entry] = []
    record(entries)
    for entry in _entries(sweep, pairs, console):
        entries.append(entry)
        record(entries)
    return writer.write(out, record(entries), console)


def _entries(sweep: Sweep, pairs: Sequence[tuple[FixedTask, Contender]], console: Console):
    """One entry a pair, with a bar that counts training steps."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("evaluating", total=sum(sweep.num_steps(task, contender) for task, contender in pairs))
        for task, contender in pairs:
            progress.update(bar, description=f"{task.name}: {contender.name}")
            begin = time.perf_counter()
            yield sweep.entry(task, contender, lambda num_steps: progress.advance(bar, num_steps))
            seconds = time.perf_counter() - begin
            progress.console.print(f"{task.name}: {contender.name} done in {seconds:.1f} s", style="dim")
        progress.update(bar, description="all curves on disk")
