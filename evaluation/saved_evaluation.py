"""Saves an evaluation beside its curves, loads it for another report, and merges several for a comparison.

`evaluation.json` has the names of tasks and contenders, the procedure, and the keys of all curves. Classes are written
as `module:attribute`. Loading imports none of them, since a report needs only the curves.
"""

import collections
import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation import clock
from evaluation.baselines import Baseline
from evaluation.curve_store import CurveStore
from evaluation.curves import Curve, Entry, Results
from evaluation.settings import Evaluation, Procedure
from velo.atomic_file import write_atomically

FILE_NAME = "evaluation.json"
CURVES_FOLDER = "curves"
FORMAT = 1
MALFORMED = (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError)
"""Exceptions that a malformed file can raise while it is read."""


@dataclasses.dataclass(frozen=True, eq=False)
class SavedEvaluation:
    """What a report shows of a finished or partly finished evaluation."""

    suite: str
    """What the report calls the tasks."""
    procedure: Procedure
    results: Results
    """Results on the tasks on which every contender is finished."""
    notes: tuple[str, ...] = ()
    """Paragraphs on what the contenders can and can't do."""
    meta_training: tuple[tuple[int, float], ...] = ()
    """(outer step, meta-loss) pairs."""
    is_whole: bool = True
    """Whether every task is finished."""


def save(out: Path, evaluation: Evaluation, saved: SavedEvaluation) -> None:
    """Writes `out/evaluation.json` atomically.

    Args:
        evaluation: the evaluation that was requested.
        saved: its finished part.

    Raises:
        OSError: in one line, if the file can't be written.
    """
    results = saved.results
    content = {
        "format": FORMAT,
        "settings": _description(evaluation),
        "tasks": [task.name for task in evaluation.tasks],
        "optimizers": list(results.optimizers),
        "reference": results.reference,
        "entries": [_entry_to_json(entry) for entry in results.entries],
        "notes": list(saved.notes),
        "meta_training": [list(point) for point in saved.meta_training],
    }
    write_atomically(Path(out) / FILE_NAME, json.dumps(content, indent=1) + "\n")


def is_unfinished(out: Path, evaluation: Evaluation) -> bool:
    """Whether a folder holds this evaluation in an unfinished state."""
    try:
        content = json.loads((Path(out) / FILE_NAME).read_text(encoding="utf-8"))
        num_entries = len(content["tasks"]) * len(content["optimizers"])
        return content["settings"] == _description(evaluation) and len(content["entries"]) < num_entries
    except (OSError, *MALFORMED):
        return False


def load(out: Path) -> SavedEvaluation:
    """Loads the evaluation in a folder.

    Raises:
        ValueError: in one line, if there is no valid one, no task is finished, or a curve that it names is missing.
    """
    path = Path(out) / FILE_NAME
    if not path.is_file():
        raise ValueError(f"{out} holds no evaluation: there is no {path}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"it has format {str(content['format'])[:20]}, this version reads {FORMAT}")
        saved = _from_json(content, CurveStore(Path(out) / CURVES_FOLDER))
    except MALFORMED as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ValueError(f"{path} is no record of an evaluation: {reason}") from None
    if not saved.results.tasks:
        raise ValueError(f"{out} has no task on which every optimizer is finished")
    return dataclasses.replace(saved, results=clock.clocked(saved.results, clock.read(out)))


def _from_json(content: Mapping[str, Any], store: CurveStore) -> SavedEvaluation:
    """The inverse of `save`; raises one of `MALFORMED` on content that `save` didn't write."""
    settings = content["settings"]
    for field in dataclasses.fields(Procedure):
        _check(settings[field.name], int)
    procedure = Procedure(**{field.name: settings[field.name] for field in dataclasses.fields(Procedure)})
    for name in ("tasks", "optimizers", "notes"):
        _check(content[name], list)
        for text in content[name]:
            _check(text, str)
    _check(settings["suite"], str)
    if content["reference"] not in content["optimizers"]:
        raise ValueError(f"the reference {content['reference']!r} is none of the optimizers")
    entries = [_entry_from_json(entry, store) for entry in content["entries"]]
    for entry in entries:
        _check_shape(entry, procedure)
    done = {(entry.task, entry.optimizer) for entry in entries}
    tasks = tuple(
        task for task in content["tasks"] if all((task, optimizer) in done for optimizer in content["optimizers"])
    )
    results = Results(
        tasks=tasks,
        optimizers=tuple(content["optimizers"]),
        reference=content["reference"],
        entries=tuple(entry for entry in entries if entry.task in tasks),
    )
    meta_training = tuple((int(step), float(loss)) for step, loss in content["meta_training"])
    is_whole = len(tasks) == len(content["tasks"])
    return SavedEvaluation(settings["suite"], procedure, results, tuple(content["notes"]), meta_training, is_whole)


def merge(*folders: Path) -> SavedEvaluation:
    """The contenders of several evaluations on the tasks that all have; the reference is that of the first.

    A contender whose curves are the same in several appears once. Different contenders with the same name get their
    folder's name appended.

    Raises:
        ValueError: in one line, if there are fewer than two folders, if one holds no evaluation, if they have no
            finished task in common, or if they differ in the number of seeds or steps of a task.
    """
    if len(folders) < 2:
        raise ValueError(f"comparing takes two folders or more, got {len(folders)}")
    saved = [load(folder) for folder in folders]
    found = [one.results for one in saved]
    first = found[0]
    tasks = tuple(task for task in first.tasks if all(task in results.tasks for results in found))
    if not tasks:
        raise ValueError(f"{_listed(folders)} have no finished task in common")
    for (folder, results), task in itertools.product(zip(folders, found, strict=True), tasks):
        shapes = [one.entry(task, one.reference).train_loss.shape for one in (first, results)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"{task} has (seeds, steps) {shapes[0]} in {folders[0]} and {shapes[1]} in {folder}: run both alike"
            )
    labels = [Path(folder).resolve().name for folder in folders]
    if len(set(labels)) < len(labels):
        labels = [f"{label} {number}" for number, label in enumerate(labels, 1)]

    def curves_of(results: Results, name: str) -> tuple[Any, ...]:
        return tuple(tuple(_keys(results.entry(task, name).reported)) for task in tasks)

    versions = collections.defaultdict(set)  # of each name, by curves
    for results in found:
        for name in results.optimizers:
            versions[name].add(curves_of(results, name))
    names: list[str] = []
    entries: list[Entry] = []
    reference, seen = first.reference, set()
    for results, label in zip(found, labels, strict=True):
        for name in results.optimizers:
            version = name, curves_of(results, name)
            if version in seen:
                continue
            seen.add(version)
            new_name = f"{name} ({label})" if len(versions[name]) > 1 else name
            if results is first and name == first.reference:
                reference = new_name
            names.append(new_name)
            # Drop the clock's times: they were measured at a different time in each folder, so they don't compare.
            entries += [dataclasses.replace(results.entry(task, name), optimizer=new_name, pace=None) for task in tasks]
    merged = Results(tasks, tuple(names), reference, tuple(entries))
    notes = tuple(f"{label}: {note}" for one, label in zip(saved, labels, strict=True) for note in one.notes)
    return SavedEvaluation(saved[0].suite, saved[0].procedure, merged, notes)


def _listed(folders: Sequence[Path]) -> str:
    return " and ".join([", ".join(map(str, folders[:-1])), str(folders[-1])])


def _description(evaluation: Evaluation) -> dict[str, Any]:
    """The requested evaluation as JSON values; equal for equal evaluations."""
    return {
        "suite": evaluation.title,
        **dataclasses.asdict(evaluation.procedure),
        "contenders": [
            {"name": contender.name, "optimizer": _source(contender.optimizer), "tuner": repr(contender.tuner)}
            for contender in evaluation.contenders
        ],
        "tasks": [
            {"name": task.name, "family": _source(task.family), "num_steps": task.num_steps}
            for task in evaluation.tasks
        ],
    }


def _source(value: Any) -> str:
    """`module:attribute` of the class; for a baseline its name, `module:function` if it is a user's own function."""
    return value.name if isinstance(value, Baseline) else f"{type(value).__module__}:{type(value).__qualname__}"


def _entry_to_json(entry: Entry) -> dict[str, Any]:
    """An entry as JSON values, with keys in place of the curves."""
    return {
        "task": entry.task,
        "optimizer": entry.optimizer,
        "is_learned": entry.is_learned,
        "tuning": entry.tuning,
        "trials": [_keys(trial) for trial in entry.trials],
        "chosen": entry.chosen,
        "reported": _keys(entry.reported),
        "stretched": [_keys(setting) for setting in entry.stretched],
    }


def _keys(curves: Sequence[Curve]) -> list[str]:
    """The keys of the curves, in their order."""
    return [curve.key for curve in curves]


def _entry_from_json(content: Mapping[str, Any], store: CurveStore) -> Entry:
    """The inverse of `_entry_to_json`; raises ValueError if a curve is missing."""

    def curves(keys: Sequence[str]) -> tuple[Curve, ...]:
        _check(keys, list)
        if not keys:
            raise ValueError("an entry has no curves")
        return tuple(_curve(key, store) for key in keys)

    for name, kind in (("task", str), ("optimizer", str), ("is_learned", bool), ("tuning", str), ("chosen", int)):
        _check(content[name], kind)
    if not 0 <= content["chosen"] < len(content["trials"]):
        raise ValueError(f"setting {content['chosen']} is none of {len(content['trials'])}")
    return Entry(
        task=content["task"],
        optimizer=content["optimizer"],
        is_learned=content["is_learned"],
        tuning=content["tuning"],
        trials=tuple(curves(keys) for keys in content["trials"]),
        chosen=content["chosen"],
        reported=curves(content["reported"]),
        stretched=tuple(curves(keys) for keys in content["stretched"]),
    )


def _check_shape(entry: Entry, procedure: Procedure) -> None:
    """Raises ValueError unless the curves of an entry can be stacked."""
    lengths = {curve.num_steps for curves in (*entry.trials, entry.reported) for curve in curves}
    numbers = {len(trial) for trial in entry.trials}
    if len(lengths) > 1 or numbers != {procedure.num_tuning_seeds} or len(entry.reported) != procedure.num_seeds:
        raise ValueError(
            f"the curves of {entry.optimizer[:80]!r} on {entry.task[:80]!r} don't fit the numbers of seeds"
        )


def _check(value: Any, kind: type) -> None:
    if type(value) is not kind:
        raise TypeError(f"{str(value)[:80]!r} is no {kind.__name__}")


def _curve(key: str, store: CurveStore) -> Curve:
    """The curve with this key; raises ValueError if it is missing."""
    curve = store.get(key)
    if curve is None:
        raise ValueError(f"the curve {key} is missing from {store.folder}")
    return curve
