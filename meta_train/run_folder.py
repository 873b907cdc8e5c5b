"""A run's folder on disk: who may write to it, and whose settings it belongs to."""

import dataclasses
import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from meta_train.settings import MetaTraining

SETTINGS_FILE = "settings.json"
WEIGHTS_FILE = "weights.velo"
CHANGEABLE = ("num_steps", "execution", "validation", "start_weights")
RENAMED = {"Objective": "WeightedCurve"}
"""Types of settings by the names that earlier versions stored."""


class RunFolderError(ValueError):
    """A folder that can't hold this run; nothing in it was touched."""


def describe(value: Any) -> Any:
    """Settings as JSON values; a dataclass carries its type, since a union's members may share field names."""
    if dataclasses.is_dataclass(value):
        fields = {field.name: describe(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"type": type(value).__name__} | fields
    return list(value) if isinstance(value, tuple) else value


def prepare(folder: Path, settings: MetaTraining, *, resume: bool) -> None:
    """Makes the folder of a new run, or checks that `settings` may resume the run in it."""
    path = folder / SETTINGS_FILE
    if resume:
        if not path.exists():
            raise RunFolderError(f"{folder} holds no run to resume: {path} is missing")
        _check_same(folder, completed(json.loads(path.read_text()), settings), describe(settings))
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunFolderError(f"{folder} exists already: pass --resume to go on with its run, or another --out")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x") as file:  # of two processes that start at once, one gets the folder
            file.write(json.dumps(describe(settings), indent=2) + "\n")
    except FileExistsError:
        raise RunFolderError(f"another process has just started a run in {folder}: pass another --out") from None


def completed(stored: dict[str, Any], settings: Any) -> dict[str, Any]:
    """`stored` as this version would have stored it: fields that are newer have their defaults."""
    name = RENAMED.get(stored.get("type", ""), stored.get("type"))
    result = stored | {"type": name}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.name not in stored:
            same_type = name == type(settings).__name__
            result[field.name] = describe(field.default) if same_type else None
        elif dataclasses.is_dataclass(value) and isinstance(stored[field.name], dict):
            result[field.name] = completed(stored[field.name], value)
    return result


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder for this process; the lock goes with the process, however it ends."""
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunFolderError(
                f"another process is running in {folder}: wait for it, or pass another --out"
            ) from None
        yield


def _check_same(folder: Path, stored: dict, asked: dict) -> None:
    differences = [
        f"{name} was {was!r} and is now {now!r}"
        for name, was, now in _differences(stored, asked)
        if name.split(".")[0] not in CHANGEABLE
    ]
    if differences:
        raise RunFolderError(f"{folder} belongs to a run with other settings: {'; '.join(differences)}")


def _differences(stored: Any, asked: Any, name: str = ""):
    if isinstance(stored, dict) and isinstance(asked, dict):
        for key in [*stored, *(key for key in asked if key not in stored)]:
            prefix = f"{name}.{key}" if name else key
            yield from _differences(stored.get(key), asked.get(key), prefix)
    elif stored != asked:
        yield name, stored, asked
