"""The table in the terminal."""

from rich import box
from rich.table import Table

from evaluation.report import words
from evaluation.results import Row
from evaluation.settings import Evaluation
from evaluation.specification import REFERENCE


def table(rows: list[Row], settings: Evaluation) -> Table:
    """A section a task, a line an optimizer, learned ones in bold; narrow enough for 80 columns."""
    seeds = words.count(settings.num_seeds, "seed")
    result = Table(title=f"{settings.suite}: final losses, mean of {seeds}", box=box.SIMPLE_HEAD, pad_edge=False)
    result.add_column("optimizer", overflow="fold")
    any_diverged = any(row.num_diverged for row in rows)
    for name in ("rate", "train", "valid", f"/ {REFERENCE}", "speed-up", *(["diverged"] if any_diverged else [])):
        result.add_column(name, justify="right", no_wrap=True)
    task = None
    for row in rows:
        if row.task != task:
            if task is not None:
                result.add_section()
            result.add_row(row.task, style="italic")
            task = row.task
        cells = [
            f"  {row.optimizer}",
            ", ".join(words.rate(value) for _, value in row.hyperparameters) or "none",
            words.number(row.train_loss),
            words.number(row.valid_loss),
            words.ratio(row.ratio),
            "never" if row.speed_up == 0 else words.ratio(row.speed_up),
            *([str(row.num_diverged) if row.num_diverged else ""] if any_diverged else []),
        ]
        result.add_row(*cells, style="bold" if row.is_learned else None)
    return result
