"""Names that a report can show anywhere: printable, short, and distinct."""

import dataclasses
import re
import unicodedata
from collections.abc import Iterable

from evaluation.curves import Curve, Results
from evaluation.saved_evaluation import SavedEvaluation

MAX_LETTERS = 80
CONTROLS = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Unicode categories that are removed: control and format characters, such as those that reverse text direction."""


def clean(text: str) -> str:
    """The text as one line, without control and format characters."""
    words = " ".join(text.split()).split(" ")
    return " ".join("".join(letter for letter in word if _is_shown(letter)) for word in words)


def _is_shown(letter: str) -> bool:
    return unicodedata.category(letter) not in CONTROLS


def printable(name: str) -> str:
    """A name as a report shows it: clean, of at most `MAX_LETTERS`, and `?` if nothing is left."""
    found = clean(name).strip() or "?"
    return found if len(found) <= MAX_LETTERS else found[: MAX_LETTERS - 1] + "…"


def distinct(names: Iterable[str]) -> dict[str, str]:
    """Name -> the name that a report shows; names that would look alike get a number."""
    shown: dict[str, str] = {}
    for name in names:
        base = candidate = printable(name)
        number = 1
        while candidate in shown.values():
            number += 1
            candidate = f"{base} #{number}"
        shown[name] = candidate
    return shown


def shown(saved: SavedEvaluation) -> SavedEvaluation:
    """The evaluation with all its texts made safe to show: names, notes, hyperparameters, tensors."""
    results = saved.results
    tasks, optimizers = distinct(results.tasks), distinct(results.optimizers)
    entries = [
        dataclasses.replace(
            entry,
            task=tasks[entry.task],
            optimizer=optimizers[entry.optimizer],
            tuning=printable(entry.tuning) if entry.tuning else "",
            trials=tuple(tuple(map(_curve, trial)) for trial in entry.trials),
            reported=tuple(map(_curve, entry.reported)),
        )
        for entry in results.entries
        if entry.task in tasks and entry.optimizer in optimizers
    ]
    renamed = Results(tuple(tasks.values()), tuple(optimizers.values()), optimizers[results.reference], tuple(entries))
    return dataclasses.replace(
        saved, suite=printable(saved.suite), results=renamed, notes=tuple(map(clean, saved.notes))
    )


def _curve(curve: Curve) -> Curve:
    sizes = curve.step_sizes
    return dataclasses.replace(
        curve,
        hyperparameters=tuple(sorted((printable(name), value) for name, value in curve.hyperparameters)),
        step_sizes=dataclasses.replace(sizes, tensors=tuple(map(printable, sizes.tensors))) if sizes else None,
    )


def escape_markdown(text: str) -> str:
    """The text with those characters escaped that would start a link, an HTML element, code or a table cell."""
    return re.sub(r"([\\`*\[\]<>&|])", r"\\\1", text)


def code(name: str) -> str:
    """The name as inline code in Markdown, also valid inside a table."""
    return "`" + name.replace("`", "'").replace("|", r"\|") + "`"
