"""What belongs to an evaluation, on disk beside its curves: its report can be made again and compared with others."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.curve_store import Store
from evaluation.curves import Curve
from evaluation.results import Entry, Results
from evaluation.settings import Evaluation

FILE_NAME = "evaluation.json"
CURVES_FOLDER = "curves"
FORMAT = 1


@dataclasses.dataclass(frozen=True, eq=False)
class Manifest:
    """An evaluation that ran, whole or in part."""

    settings: Evaluation
    results: Results
    """Of the tasks on which every optimizer is finished."""
    notes: tuple[str, ...] = ()
    meta_training: tuple[tuple[int, float], ...] = ()
    is_whole: bool = True


def write(out: Path, manifest: Manifest, tasks: Sequence[str]) -> None:
    """Writes `out/evaluation.json`, whole or not at all.

    Args:
        tasks: all that were asked for.
    """
    results = manifest.results
    content = {
        "format": FORMAT,
        "settings": dataclasses.asdict(manifest.settings),
        "tasks": list(tasks),
        "optimizers": list(results.optimizers),
        "reference": results.reference,
        "entries": [_entry_to_json(entry) for entry in results.entries],
        "notes": list(manifest.notes),
        "meta_training": [list(point) for point in manifest.meta_training],
    }
    path = Path(out) / FILE_NAME
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(f"can't write {path}: {error.strerror or error}") from None


def is_unfinished(out: Path, settings: Evaluation) -> bool:
    """Whether the folder holds an evaluation with these settings that was interrupted."""
    try:
        content = json.loads((Path(out) / FILE_NAME).read_text(encoding="utf-8"))
        num_entries = len(content["tasks"]) * len(content["optimizers"])
        same = content["settings"] == json.loads(json.dumps(dataclasses.asdict(settings)))
        return same and len(content["entries"]) < num_entries
    except (OSError, KeyError, TypeError, json.JSONDecodeError):
        return False


def read(out: Path) -> Manifest:
    """The evaluation in a folder.

    Raises:
        ValueError: in one line, if there is none, or a curve that it names is missing.
    """
    path = Path(out) / FILE_NAME
    if not path.is_file():
        raise ValueError(f"{out} holds no evaluation: there is no {path}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"{path} has format {content['format']}, this version reads {FORMAT}")
        fields = {key: tuple(value) if isinstance(value, list) else value for key, value in content["settings"].items()}
        store = Store(Path(out) / CURVES_FOLDER)
        entries = [_entry_from_json(entry, store) for entry in content["entries"]]
        settings = object.__new__(Evaluation)  # as it was: files and modules that it names may be gone
        for field in dataclasses.fields(Evaluation):
            object.__setattr__(settings, field.name, fields[field.name])
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no record of an evaluation: {error!r}") from None
    done = {(entry.task, entry.optimizer) for entry in entries}
    tasks = tuple(
        task for task in content["tasks"] if all((task, optimizer) in done for optimizer in content["optimizers"])
    )
    if not tasks:
        raise ValueError(f"{out} has no task on which every optimizer is finished")
    results = Results(
        tasks=tasks,
        optimizers=tuple(content["optimizers"]),
        reference=content["reference"],
        entries=tuple(entry for entry in entries if entry.task in tasks),
    )
    meta_training = tuple((int(step), float(loss)) for step, loss in content["meta_training"])
    return Manifest(settings, results, tuple(content["notes"]), meta_training, len(tasks) == len(content["tasks"]))


def _entry_to_json(entry: Entry) -> dict[str, Any]:
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
    return [curve.key for curve in curves]


def _entry_from_json(content: Mapping[str, Any], store: Store) -> Entry:
    def curves(keys: Sequence[str]) -> tuple[Curve, ...]:
        return tuple(_curve(key, store) for key in keys)

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


def _curve(key: str, store: Store) -> Curve:
    curve = store.get(key)
    if curve is None:
        raise ValueError(f"the curve {key} is missing from {store.folder}")
    return curve
