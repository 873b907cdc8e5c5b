"""The report as an HTML page: one self-contained file with all figures and data, which needs no network."""

import math
from typing import Any

import jinja2
from markupsafe import Markup

from evaluation import curve_key
from evaluation.report import drawing, wording
from evaluation.report.content import Content
from evaluation.report.score_tables import Row

TEMPLATE = "page.html.j2"


def render(content: Content) -> str:
    """The page as text. Equal curves give equal text, except in the section on time."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("evaluation.report", ""),
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    results = content.results
    meta_training = content.saved.meta_training
    return environment.get_template(TEMPLATE).render(
        content=content,
        procedure=content.procedure,
        results=results,
        wording=wording,
        findings=[
            (found.optimizer, wording.finding(found, content.rows, results.reference, content.procedure.stretch))
            for found in content.summaries
            if found.is_learned
        ],
        duels=wording.duels(results),
        notes=content.saved.notes,
        failures=wording.failures(results, content.rows),
        meta_ends=(wording.number(meta_training[0][1]), wording.number(meta_training[-1][1])) if meta_training else (),
        strokes=drawing.strokes(results),
        tuned={name for name in results.optimizers if results.entry(results.tasks[0], name).is_tuned},
        groups=[(task, _cells([row for row in content.rows if row.task == task])) for task in results.tasks],
        task_steps=[(task, results.entry(task, results.reference).reported[0].num_steps) for task in results.tasks],
        svg=lambda figure: Markup(figure.svg),
        address=drawing.data_address,
        versions=curve_key.versions(),
    )


def _cells(rows: list[Row]) -> list[dict[str, Any]]:
    """The rows of a task, with its lowest losses marked."""
    best_train, best_valid = min(row.train_loss for row in rows), min(row.valid_loss for row in rows)
    return [
        {
            "row": row,
            "best_train": row.train_loss == best_train and math.isfinite(best_train),
            "best_valid": row.valid_loss == best_valid and math.isfinite(best_valid),
        }
        for row in rows
    ]
