"""The table in the terminal."""

from rich.table import Table

from evaluation.report import words
from evaluation.results import Row
from evaluation.settings import Evaluation


def table(rows: list[Row], settings: Evaluation) -> Table:
    """Tasks x optimizers; learned optimizers in bold."""
    result = Table(title=f"{settings.suite}: {words.count(settings.num_seeds, 'seed')}, final losses")
    result.add_column("task", overflow="fold")
    result.add_column("optimizer", overflow="fold")
    for name in ("rate", "trials", "train loss", "valid loss", "/ adam's", "speed-up", "diverged"):
        result.add_column(name, justify="right")
    previous = None
    for row in rows:
        if previous is not None and row.task != previous:
            result.add_section()
        result.add_row(
            row.task if row.task != previous else "",
            row.optimizer,
            ", ".join(words.rate(value) for _, value in row.hyperparameters) or "none",
            str(row.num_trials),
            words.number(row.train_loss),
            words.number(row.valid_loss),
            words.ratio(row.ratio),
            words.speed_up(row.speed_up),
            str(row.num_diverged) if row.num_diverged else "",
            style="bold" if row.is_learned else None,
        )
        previous = row.task
    return result
