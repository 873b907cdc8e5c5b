"""A run's folder on disk: which settings it belongs to, and which process may write to it."""

import dataclasses
import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from meta_train.settings import MetaTraining
from tasks.fixed import Suite
from tasks.mixture import NamedMixture
from velo.weights import configuration

SETTINGS_FILE = "settings.json"
WEIGHTS_FILE = "weights.velo"
CHANGEABLE = ("num_steps", "execution", "validation", "start_weights")
RENAMED = {"Objective": "WeightedCurve"}
"""Types of settings by the names that earlier versions stored."""
MAX_DIFFERENCES = 20
MAX_SHOWN = 200
"""Longest value in a message, in characters."""


class RunFolderError(ValueError):
    """A folder that can't hold this run, or a folder or mirror without a run that can be resumed."""


def describe(value: Any) -> Any:
    """Settings as JSON values. A dataclass carries its type, since several may have the same fields.

    Mixtures and suites with a name are described by it; a mixture without one by its fields.

    Raises:
        ValueError: a value is neither a dataclass nor a tuple, class or JSON scalar.
    """
    if isinstance(value, NamedMixture | Suite):
        return value.name
    if isinstance(value, type):
        return _type_name(value)
    if dataclasses.is_dataclass(value):
        fields = {field.name: describe(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"type": _type_name(type(value))} | fields
    if isinstance(value, tuple):
        return [describe(entry) for entry in value]
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError(f"{value!r} can't be written into {SETTINGS_FILE}: make its class a frozen dataclass")


def _type_name(cls: type) -> str:
    """The bare name of our own types, `module:attribute` of a user's."""
    ours = cls.__module__.partition(".")[0] in ("meta_train", "tasks", "velo")
    return cls.__name__ if ours else configuration.reference(cls)


def prepare(folder: Path, settings: MetaTraining, *, resume: bool) -> None:
    """Makes the folder of a new run, or checks that `settings` may resume the run in it.

    Raises:
        RunFolderError: the folder can't hold this run.
    """
    path, described = folder / SETTINGS_FILE, describe(settings)
    if resume:
        if not path.exists():
            raise RunFolderError(f"{folder} holds no run to resume: {path} is missing")
        _check_same(folder, completed(_read(path), settings), described)
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunFolderError(f"{folder} exists already: pass --resume to go on with its run, or another --out")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x") as file:  # of two processes that start at once, one gets the folder
            file.write(json.dumps(described, indent=2) + "\n")
    except FileExistsError:
        raise RunFolderError(f"another process has just started a run in {folder}: pass another --out") from None
    except OSError as error:
        path.unlink(missing_ok=True)  # on a full disk: what is left must not look like a run that can be resumed
        raise OSError(f"can't write {path}: {error.strerror or error}") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise RunFolderError(f"{path} is damaged: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(stored, dict):
        raise RunFolderError(f"{path} is damaged: it holds a {type(stored).__name__} and no settings")
    return stored


def completed(stored: dict[str, Any], settings: Any) -> dict[str, Any]:
    """`stored` as this version would have stored it: fields that were added since get their defaults."""
    name = str(stored.get("type"))
    name = RENAMED.get(name, name)
    result = stored | {"type": name}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.name not in stored:
            known = name == _type_name(type(settings)) and field.default is not dataclasses.MISSING
            result[field.name] = describe(field.default) if known else None
        elif dataclasses.is_dataclass(value) and isinstance(stored[field.name], dict):
            result[field.name] = completed(stored[field.name], value)
    return result


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Locks the folder for this process. The operating system frees the lock when the process ends.

    Raises:
        RunFolderError: another process has locked it.
    """
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
        f"{name[:MAX_SHOWN]} was {repr(was)[:MAX_SHOWN]} and is now {repr(now)[:MAX_SHOWN]}"
        for name, was, now in _differences(stored, asked)
        if name.split(".")[0] not in CHANGEABLE
    ]
    if differences:
        more = f"; and {len(differences) - MAX_DIFFERENCES} more" if len(differences) > MAX_DIFFERENCES else ""
        shown = "; ".join(differences[:MAX_DIFFERENCES])
        raise RunFolderError(f"{folder} belongs to a run with other settings: {shown}{more}")


def _differences(stored: Any, asked: Any, name: str = ""):
    if isinstance(stored, dict) and isinstance(asked, dict):
        for key in [*stored, *(key for key in asked if key not in stored)]:
            prefix = f"{name}.{key}" if name else key
            yield from _differences(stored.get(key), asked.get(key), prefix)
    elif stored != asked:
        yield name, stored, asked
