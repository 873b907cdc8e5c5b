"""The HTML page: one file that needs nothing else, no network included."""

import importlib.resources
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from evaluation import identity, scores
from evaluation.report import figures, words
from evaluation.results import Results, Row
from evaluation.settings import Evaluation

TEMPLATE = "page.html.j2"


def write(
    path: Path,
    settings: Evaluation,
    results: Results,
    rows: list[Row],
    *,
    notes: Sequence[str] = (),
    meta_training: Sequence[tuple[int, float]] = (),
) -> None:
    """Writes the page at `path`, whole or not at all; raises an OSError in one line if it can't."""
    text = render(settings, results, rows, notes=notes, meta_training=meta_training)
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(f"can't write the report to {path}: {error.strerror or error}") from None


def render(
    settings: Evaluation,
    results: Results,
    rows: list[Row],
    *,
    notes: Sequence[str] = (),
    meta_training: Sequence[tuple[int, float]] = (),
) -> str:
    """The page as text: the same for the same curves. Arguments as for `evaluate`."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = (importlib.resources.files("evaluation.report") / TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(source).render(
        settings=settings,
        results=results,
        words=words,
        findings=[(name, words.finding(rows, name, results.reference)) for name in results.learned],
        duels=words.duels(results),
        notes=notes,
        meta_figure=Markup(figures.meta_loss(meta_training)) if meta_training else "",
        meta_ends=(words.number(meta_training[0][1]), words.number(meta_training[-1][1])) if meta_training else (),
        legend=figures.legend(results),
        colors={name: stroke.color for name, stroke in figures.strokes(results).items()},
        groups=[(task, _cells([row for row in rows if row.task == task])) for task in results.tasks],
        curve_figures=[(task, Markup(figures.training_curves(results, task))) for task in results.tasks],
        sensitivity_figures=[(task, Markup(figures.sensitivity(results, task))) for task in results.tasks],
        sizes=[(task, _num_steps(results, task)) for task in results.tasks],
        costs=[_cost(results, name) for name in results.optimizers],
        versions=identity.versions(),
    )


def _cells(rows: list[Row]) -> list[dict[str, Any]]:
    """A task's rows with their best losses marked."""
    best_train, best_valid = min(row.train_loss for row in rows), min(row.valid_loss for row in rows)
    return [
        {
            "row": row,
            "best_train": row.train_loss == best_train and math.isfinite(best_train),
            "best_valid": row.valid_loss == best_valid and math.isfinite(best_valid),
        }
        for row in rows
    ]


def _num_steps(results: Results, task: str) -> int:
    return results.entry(task, results.reference).reported[0].num_steps


def _cost(results: Results, optimizer: str) -> dict[str, Any]:
    """What an optimizer took over all tasks; seconds are wall-clock and shared between the lanes of a program."""
    entries = [results.entry(task, optimizer) for task in results.tasks]
    tuning = [curve for entry in entries if entry.is_tuned for trial in entry.trials for curve in trial]
    reported = [curve for entry in entries for curve in entry.reported]
    return {
        "optimizer": optimizer,
        "num_trials": len(entries[0].trials) if entries[0].is_tuned else 0,
        "num_tuning_runs": len(tuning),
        "num_tuning_diverged": sum(
            int(scores.diverged(entry.tuning_loss).sum()) for entry in entries if entry.is_tuned
        ),
        "tuning_steps": sum(curve.num_steps for curve in tuning),
        "tuning_seconds": sum(curve.cost.seconds for curve in tuning),
        "milliseconds_per_step": 1e3 * sum(curve.cost.seconds for curve in reported) / sum(c.num_steps for c in reported),
        "compile_seconds": sum(entry.reported[0].cost.compile_seconds for entry in entries),
    }
