"""The fields of nested settings by their names on a command line."""

import copy
import dataclasses
import difflib
import typing
from collections.abc import Iterator, Sequence
from typing import Any


def flags(settings: Any) -> list[str]:
    """`--optimizer.lstm-size` for every field of the settings that is not made of fields itself."""
    return [f"--{path}" for path, value in _walk(settings) if not dataclasses.is_dataclass(value)]


def choices(settings: Any) -> dict[str, dict[str, type]]:
    """Dotted path -> types by name, for the fields that may hold one of several types of settings."""
    found = {}
    for path, value in _walk(settings):
        if dataclasses.is_dataclass(value):
            types = _types(*_parent(settings, path))
            if len(types) > 1:
                found[path] = types
    return found


def choose_types(settings: Any, argv: Sequence[str]) -> tuple[Any, list[str]]:
    """Carries out every `--field TYPE`; returns the new settings and the words that are left.

    The new value takes from the old one the fields that both have. The settings around it are not checked again: a
    later word may give them what the new type asks for.

    Raises:
        ValueError: there is no such type; the nearest name is in the message.
    """
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        path = name.removeprefix("--").replace("_", "-")
        types = choices(settings).get(path) if name.startswith("--") else None
        if types is None:
            rest.append(word)
            continue
        wanted = value if equals else next(words, "")
        if wanted not in types:
            nearest = difflib.get_close_matches(wanted, types, n=1) or list(types)
            raise ValueError(f"{name} is one of {', '.join(types)}, got {wanted!r}; did you mean {nearest[0]}?")
        settings = _replace(settings, path.split("."), types[wanted])
    return settings, rest


def _walk(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(settings):
        path = prefix + field.name.replace("_", "-")
        value = getattr(settings, field.name)
        yield path, value
        if dataclasses.is_dataclass(value):
            yield from _walk(value, f"{path}.")


def _parent(settings: Any, path: str) -> tuple[Any, str]:
    """The settings that hold the field, and its name there."""
    *names, last = path.replace("-", "_").split(".")
    for name in names:
        settings = getattr(settings, name)
    return settings, last


def _types(settings: Any, name: str) -> dict[str, type]:
    annotation = typing.get_type_hints(type(settings))[name]
    members = typing.get_args(annotation) or (annotation,)
    return {
        member.__name__: member for member in members if isinstance(member, type) and dataclasses.is_dataclass(member)
    }


def _replace(settings: Any, names: Sequence[str], wanted: type) -> Any:
    name, *deeper = names[0].replace("-", "_"), *names[1:]
    value = getattr(settings, name)
    if deeper:
        return _with(settings, name, _replace(value, deeper, wanted))
    wanted_names = {field.name for field in dataclasses.fields(wanted)}
    shared = {
        field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.name in wanted_names
    }
    return _with(settings, name, wanted(**shared))


def _with(settings: Any, name: str, value: Any) -> Any:
    changed = copy.copy(settings)
    object.__setattr__(changed, name, value)
    return changed
