"""The table in the terminal."""

from rich import box
from rich.table import Table

from evaluation.report import wording as words
from evaluation.report.score_tables import Row, Summary
from evaluation.settings import Evaluation


def task_table(rows: list[Row], settings: Evaluation, reference: str) -> Table:
    """A section a task, a line an optimizer, learned ones in bold; narrow enough for 80 columns."""
    seeds = words.count(settings.num_seeds, "seed")
    result = Table(title=f"{settings.suite}: final losses, mean of {seeds}", box=box.SIMPLE_HEAD, pad_edge=False)
    result.add_column("optimizer", overflow="fold", min_width=19)
    any_diverged = any(row.num_diverged for row in rows)
    for name in ("rate", "train", "valid", f"/ {reference}", "speed-up", *(["diverged"] if any_diverged else [])):
        result.add_column(name, justify="right", no_wrap=True)
    task = None
    for row in rows:
        if row.task != task:
            if task is not None:
                result.add_section()
            result.add_row(row.task, style="italic")
            task = row.task
        rate = dict(row.hyperparameters).get("learning_rate")
        cells = [
            f"  {row.optimizer}",
            "none" if rate is None else words.rate(rate),
            words.number(row.train_loss),
            words.number(row.valid_loss),
            words.ratio(row.ratio),
            words.envelope_speed_up(row.envelope_speed_up, settings.stretch),
            *([str(row.num_diverged) if row.num_diverged else ""] if any_diverged else []),
        ]
        result.add_row(*cells, style="bold" if row.is_learned else None)
    return result


def summary_table(summaries: list[Summary], settings: Evaluation, reference: str) -> Table:
    """A line an optimizer, over all tasks; narrow enough for 80 columns."""
    result = Table(title=f"{settings.suite}: against tuned {reference}", box=box.SIMPLE_HEAD, pad_edge=False)
    result.add_column("optimizer", overflow="fold", min_width=19)
    for name in ("trials", "final loss", "95 %", "w-t-l", "speed-up"):
        result.add_column(name, justify="right", no_wrap=True)
    for found in summaries:
        result.add_row(
            found.optimizer,
            str(found.num_trials or "none"),
            words.ratio(found.ratio),
            words.interval(found.ratio_interval),
            words.record(found.record),
            words.envelope_speed_up(found.envelope_speed_up, settings.stretch),
            style="bold" if found.is_learned else None,
        )
    return result
