"""`evaluation.run`: from contenders and tasks to curves on disk and a report."""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from evaluation import clock as clock_module
from evaluation import ray_workers, saved_evaluation, trainable
from evaluation.clock import Clock
from evaluation.curve_store import CurveStore
from evaluation.curves import Entry, Results
from evaluation.report import writer
from evaluation.report.names import printable
from evaluation.resumable_sweep import Sweep
from evaluation.saved_evaluation import CURVES_FOLDER, SavedEvaluation
from evaluation.settings import Evaluation


def run(
    evaluation: Evaluation,
    out: Path | str,
    *,
    notes: Sequence[str] = (),
    meta_training: Sequence[tuple[int, float]] = (),
    clock: Clock | None = None,
    console: Console | None = None,
) -> Path:
    """Runs every contender on every task; prints the tables; returns the path of the report's page.

    Writes `out/curves/*.parquet`, `out/evaluation.json` and the report (`evaluation.report.writer`). Curves that are
    already in `out/curves` are not trained again. So an interrupted evaluation resumes where it stopped, and
    evaluations in one folder share the curves that they have in common.

    Args:
        notes: paragraphs for the report on what the contenders can and can't do.
        meta_training: (outer step, meta-loss) pairs to draw above the results.
        clock: measures the time of a step of every contender on every task after the runs, on one core.
        console: where progress and tables are printed; the terminal by default.

    Raises:
        UntrainableError: in one line, if an optimizer needs something that the training loop doesn't provide.
        ValueError: in one line, if the evaluation asks for Ray or Optuna and it isn't installed.
        OSError: in one line, if the folder can't be written.
    """
    console = console or Console()
    out = Path(out)
    for contender in evaluation.contenders:
        trainable.check(evaluation.tasks[0], contender)
    sweep = Sweep(evaluation.procedure, evaluation.reference, CurveStore(out / CURVES_FOLDER))
    entries: list[Entry] = []

    def saved() -> SavedEvaluation:
        """Saves the entries so far to disk and returns them as a `SavedEvaluation`."""
        found = _so_far(evaluation, entries, notes, meta_training)
        saved_evaluation.save(out, evaluation, found)
        return found

    if evaluation.num_workers:
        ray_workers.fill(evaluation, out / CURVES_FOLDER, console)
    saved()
    for entry in swept(sweep, evaluation, console):
        entries.append(entry)
        saved()
    done = saved()
    if clock is not None:

        def on_task(name: str) -> None:
            console.print(escape(f"clock: {printable(name)}"), style="dim")

        clock_module.measure(clock, evaluation, done.results, out, on_task)
    paces = clock_module.read(out)
    return writer.write(out, dataclasses.replace(done, results=clock_module.clocked(done.results, paces)), console)


def _so_far(
    evaluation: Evaluation,
    entries: Sequence[Entry],
    notes: Sequence[str],
    meta_training: Sequence[tuple[int, float]],
) -> SavedEvaluation:
    """The finished part of the evaluation; its `tasks` leave out those on which a contender is missing."""
    num_contenders = len(evaluation.contenders)
    names = [entry.task for entry in entries]
    tasks = tuple(task.name for task in evaluation.tasks if names.count(task.name) == num_contenders)
    results = Results(
        tasks=tasks,
        optimizers=tuple(contender.name for contender in evaluation.contenders),
        reference=evaluation.reference,
        entries=tuple(entries),
    )
    return SavedEvaluation(evaluation.title, evaluation.procedure, results, tuple(notes), tuple(meta_training))


def swept(sweep: Sweep, evaluation: Evaluation, console: Console) -> Iterator[Entry]:
    """Yields the entry of every (task, contender) pair; shows a progress bar that counts training steps."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        total = sum(sweep.num_steps(task, contender) for task, contender in evaluation.pairs)
        bar = progress.add_task("evaluating", total=total)
        for task, contender in evaluation.pairs:
            pair = escape(f"{printable(task.name)}: {printable(contender.name)}")
            progress.update(bar, description=pair)
            begin = time.perf_counter()
            yield sweep.entry(task, contender, lambda num_steps: progress.advance(bar, num_steps))
            seconds = time.perf_counter() - begin
            progress.console.print(f"{pair} done in {seconds:.1f} s", style="dim")
        progress.update(bar, description="all curves on disk")
