"""Writes an evaluation's report into its folder, and prints its tables in the terminal."""

from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evaluation.report import markdown, names, page, wording
from evaluation.report.content import Content
from evaluation.saved_evaluation import SavedEvaluation
from velo.atomic_file import write_atomically

PAGE_NAME = "report.html"
MARKDOWN_NAME = "report.md"
FIGURES_FOLDER = "figures"


def write(out: Path, saved: SavedEvaluation, console: Console | None = None) -> Path:
    """Writes the report; prints the tables; returns the page's path.

    The files are `report.html` (self-contained), `report.md` with `figures/*.png`, a CSV file beside each figure, and
    `results.csv`, `summary.csv` and `times.csv`.

    Raises:
        OSError: in one line, if the folder can't be written.
    """
    console = console or Console()
    content = Content(names.shown(saved))
    console.print(_task_table(content))
    console.print(_summary_table(content))
    for found in content.summaries:
        if found.optimizer != content.results.reference:
            console.print(escape(wording.in_short(found, content.results.reference)), soft_wrap=True)
    out = Path(out)
    texts = {
        PAGE_NAME: page.render(content),
        MARKDOWN_NAME: markdown.render(content, FIGURES_FOLDER),
        "results.csv": content.rows_csv,
        "summary.csv": content.summaries_csv,
        "times.csv": content.times_csv,
    }
    try:
        (out / FIGURES_FOLDER).mkdir(parents=True, exist_ok=True)
        for drawing in content.files:
            drawing.save(out / FIGURES_FOLDER)
        for name, text in texts.items():
            write_atomically(out / name, text)
    except OSError as error:
        raise OSError(
            f"the report is not whole: {error}; the curves are in {out}: velo-evaluate --report {out} writes it again"
        ) from None
    console.print(f"report: {out / PAGE_NAME}", soft_wrap=True, markup=False)
    return out / PAGE_NAME


def _task_table(content: Content) -> Table:
    """A table with a section for each task and a row for each optimizer, learned ones in bold; fits 80 columns."""
    rows, reference, procedure = content.rows, content.results.reference, content.procedure
    seeds = wording.count(procedure.num_seeds, "seed")
    result = Table(title=escape(f"{content.suite}: final losses, mean of {seeds}"), box=box.SIMPLE_HEAD, pad_edge=False)
    result.add_column("optimizer", overflow="fold", min_width=19)
    any_diverged = any(row.num_diverged for row in rows)
    for name in (
        "rate",
        "train",
        "valid",
        escape(f"/ {reference}"),
        "speed-up",
        *(["diverged"] if any_diverged else []),
    ):
        result.add_column(name, justify="right", no_wrap=True)
    task = None
    for row in rows:
        if row.task != task:
            if task is not None:
                result.add_section()
            result.add_row(escape(row.task), style="italic")
            task = row.task
        rate = dict(row.hyperparameters).get("learning_rate")
        cells = [
            escape(f"  {row.optimizer}"),
            "none" if rate is None else wording.rate(rate),
            wording.number(row.train_loss),
            wording.number(row.valid_loss),
            wording.ratio(row.ratio),
            wording.envelope_speed_up(row.envelope_speed_up, procedure.stretch),
            *([str(row.num_diverged) if row.num_diverged else ""] if any_diverged else []),
        ]
        result.add_row(*cells, style="bold" if row.is_learned else None)
    return result


def _summary_table(content: Content) -> Table:
    """A table with a row for each optimizer, over all tasks; fits 80 columns."""
    reference, procedure = content.results.reference, content.procedure
    result = Table(title=escape(f"{content.suite}: against tuned {reference}"), box=box.SIMPLE_HEAD, pad_edge=False)
    result.add_column("optimizer", overflow="fold", min_width=19)
    for name in ("trials", "final loss", "95 %", "w-t-l", "speed-up"):
        result.add_column(name, justify="right", no_wrap=True)
    for found in content.summaries:
        result.add_row(
            escape(found.optimizer),
            str(found.num_trials or "none"),
            wording.ratio(found.ratio),
            wording.interval(found.ratio_interval),
            wording.record(found.record),
            wording.envelope_speed_up(found.envelope_speed_up, procedure.stretch),
            style="bold" if found.is_learned else None,
        )
    return result
