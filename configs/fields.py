"""Finds and sets the fields of nested settings by the names that they have on a command line."""

import copy
import dataclasses
import difflib
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Resolve = Callable[[str], Any]


class References(typing.NamedTuple):
    """Types of fields whose values a command line names (`configs.references`)."""

    values: Mapping[type, Resolve] = {}
    """Types of fields whose whole value is given by a name."""
    groups: Mapping[type, Resolve] = {}
    """Types of fields whose value is given by a name, and whose own fields have dotted names too."""


NO_REFERENCES = References()


def flags(settings: Any, references: References = NO_REFERENCES) -> list[str]:
    """`--optimizer.lstm-size` for every field that isn't made of fields itself."""
    return [f"--{path}" for path, value in _walk(settings, references) if not _is_group(value, references)]


def choices(settings: Any, references: References = NO_REFERENCES) -> dict[str, dict[str, type]]:
    """Dotted path -> types by name, for the fields that may hold one of several types of settings."""
    found = {}
    for path, value in _walk(settings, references):
        if _is_group(value, references):
            types = _types(*_parent(settings, path))
            if len(types) > 1:
                found[path] = types
    return found


def groups(settings: Any, references: References) -> dict[str, Resolve]:
    """Dotted path -> function from a name to a value, for the fields whose type is one of `references.groups`."""
    found = {}
    for path, value in _walk(settings, references):
        if _is_group(value, references):
            parent, name = _parent(settings, path)
            resolve = references.groups.get(typing.get_type_hints(type(parent))[name])
            if resolve is not None:
                found[path] = resolve
    return found


def named(settings: Any, references: References) -> list[str]:
    """The flags whose value is a name, bundled or a user's own, such as `--optimizer`."""
    values = [path for path, value in _walk(settings, references) if isinstance(value, tuple(references.values))]
    return [f"--{path}" for path in [*groups(settings, references), *values]]


def choose(settings: Any, argv: Sequence[str], references: References = NO_REFERENCES) -> tuple[Any, list[str]]:
    """Carries out every `--field TYPE` and `--field module:attribute`; returns the new settings and the other words.

    A value of a new type keeps the fields that it shares with the old value; a named value is taken as it is. The
    enclosing settings are not checked again, since a later word may supply what the new value needs.

    Raises:
        ValueError: there is no such type, and the message has the nearest name; or the new type refuses a shared field.
        Exception: whatever `Resolve` raises for a name (`configs.references.UnresolvedError`).
    """
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        path = name.removeprefix("--").replace("_", "-")
        types = choices(settings, references).get(path) if name.startswith("--") else None
        resolve = groups(settings, references).get(path) if name.startswith("--") else None
        if types is None and resolve is None:
            rest.append(word)
            continue
        wanted = value if equals else next(words, "")
        if resolve is not None:
            settings = replaced(settings, path, resolve(wanted))
        elif types is not None:
            settings = replaced(settings, path, _converted(name, wanted, types, settings, path))
    return settings, rest


def replaced(settings: Any, path: str, value: Any) -> Any:
    """The settings with another value at a dotted path, without checking them again."""
    name, _, deeper = path.replace("-", "_").partition(".")
    changed = copy.copy(settings)
    object.__setattr__(changed, name, replaced(getattr(settings, name), deeper, value) if deeper else value)
    return changed


def _walk(settings: Any, references: References, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(settings):
        path = prefix + field.name.replace("_", "-")
        value = getattr(settings, field.name)
        yield path, value
        if _is_group(value, references):
            yield from _walk(value, references, f"{path}.")


def _is_group(value: Any, references: References) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, tuple(references.values))


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


def _converted(flag: str, wanted: str, types: Mapping[str, type], settings: Any, path: str) -> Any:
    """A value of the wanted type, with the fields that it shares with the old one."""
    if wanted not in types:
        nearest = difflib.get_close_matches(wanted, types, n=1) or list(types)
        raise ValueError(f"{flag} is one of {', '.join(types)}, got {wanted!r}; did you mean {nearest[0]}?")
    parent, name = _parent(settings, path)
    old, names = getattr(parent, name), {field.name for field in dataclasses.fields(types[wanted])}
    shared = {field.name: getattr(old, field.name) for field in dataclasses.fields(old) if field.name in names}
    return types[wanted](**shared)
