"""Records a learned optimizer in a file, and builds it from a file's fields, each of them checked."""

import dataclasses
import hashlib
import json
import pathlib
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from velo.architectures import ARCHITECTURES
from velo.learned_optimizer import LearnedOptimizer
from velo.weights.tensor_file import WeightsError

MAX_SIZE = 2**16

T = TypeVar("T")


def sha256(text: str) -> str:
    """Hexadecimal digest of a text."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def reference(cls: type) -> str:
    """`module:attribute`, under which another process can import the class."""
    return f"{_module_name(cls)}:{cls.__qualname__}"


def architecture_name(cls: type[LearnedOptimizer]) -> str:
    """What files call an architecture: its name if it comes with the package, otherwise `module:attribute`."""
    return cls.__name__ if ARCHITECTURES.get(cls.__name__) is cls else reference(cls)


def classes(name: str, architecture: type[LearnedOptimizer] | None) -> Mapping[str, type[LearnedOptimizer]]:
    """The classes by name that a file may be built from: those of the package, or the one that the caller passed.

    That class may have moved to another module since the file was written, but it has the same name.

    Raises:
        WeightsError: the file's class has to be passed, or another one was.
    """
    own, attribute = ":" in name, name.rpartition(":")[2]
    if architecture is None and own:
        raise WeightsError(
            f"holds weights of {name[:80]!r}, which is no class of this package: pass it, "
            f"velo.load_weights(path, architecture={attribute[:40]}), or velo-evaluate --architecture {name[:80]}"
        )
    if architecture is None:
        return ARCHITECTURES
    given = architecture_name(architecture)
    if (own, attribute) != (":" in given, given.rpartition(":")[2]):
        raise WeightsError(f"holds weights of {name[:80]!r}, not of {given}")
    return {name: architecture}


def check_recordable(instance: Any) -> None:
    """Checks that a file can record the class by its reference and the instance by its fields.

    Raises:
        WeightsError: in one line, it is not a frozen dataclass, its reference doesn't lead to it, or its fields are not
            JSON scalars and tuples of them that build an equal instance.
    """
    cls = type(instance)
    if not dataclasses.is_dataclass(cls) or not typing.cast(Any, cls).__dataclass_params__.frozen:
        raise WeightsError(f"{cls.__qualname__} can't be saved: make it a frozen dataclass, whose fields are recorded")
    found: Any = sys.modules.get(cls.__module__)
    for name in cls.__qualname__.split("."):
        found = getattr(found, name, None)
    if found is not cls:
        advice = "define it at the top of a module"
        raise WeightsError(f"{cls.__qualname__} can't be saved: {reference(cls)} doesn't lead to it; {advice}")
    fields = {field.name: getattr(instance, field.name) for field in dataclasses.fields(cls) if field.init}
    try:
        again = build({cls.__name__: cls}, cls.__name__, json.loads(json.dumps(fields, allow_nan=False)))
        same = again == instance and hash(again) == hash(instance)
    except (TypeError, ValueError) as error:
        raise WeightsError(
            f"{cls.__qualname__} can't be saved, its fields have to be JSON scalars or tuples of them: {error}"
        ) from None
    if not same:
        raise WeightsError(f"{cls.__qualname__} can't be saved: its fields build {again}, which is not {instance}")


def build(classes: Mapping[str, type[T]], name: str, fields: Mapping[str, Any]) -> T:
    """An instance of `classes[name]`; fields that the file lacks keep their defaults, so that old files stay loadable.

    Raises:
        WeightsError: the class or a field is unknown, or a value is of the wrong type or refused by the class.
    """
    if name not in classes:
        raise WeightsError(f"unknown architecture {name[:40]!r}, this version knows {sorted(classes)}")
    try:
        kinds = typing.get_type_hints(classes[name])
    except NameError as error:
        raise WeightsError(f"the annotations of {name} can't be read: {error}") from None
    known = [field.name for field in dataclasses.fields(classes[name])]  # pyright: ignore[reportArgumentType]
    for field in fields:
        if field not in known:
            raise WeightsError(f"{name} has no field or option {field[:40]!r}, only {known}")
    try:
        return classes[name](**{field: _convert(field, value, kinds[field]) for field, value in fields.items()})
    except WeightsError:
        raise
    except (ValueError, TypeError) as error:
        raise WeightsError(str(error)) from None


def _convert(field: str, value: Any, kind: Any) -> Any:
    """The value from JSON in the field's type: JSON has no tuples, and doesn't distinguish 1.0 from 1."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple and isinstance(value, list | tuple):
        items = (arguments[0],) * len(value) if arguments[-1] is ... else arguments
        if len(items) == len(value):
            return tuple(_convert(field, entry, item) for entry, item in zip(value, items, strict=True))
    if origin in (typing.Union, types.UnionType):
        for member in arguments:
            try:
                return _convert(field, value, member)
            except WeightsError:
                continue
    if origin is typing.Literal and any(type(value) is type(choice) and value == choice for choice in arguments):
        return value
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        described = str(kind) if arguments else getattr(kind, "__name__", kind)
        raise WeightsError(f"{field} has to be of type {described}, got {str(value)[:40]!r}")
    if type(value) is int and abs(value) > MAX_SIZE:
        raise WeightsError(f"{field} = {value} is beyond {MAX_SIZE}, the largest size that is read from a file")
    return value


def _module_name(cls: type) -> str:
    """The class's module; of a script that is running, the name by which others import it."""
    if cls.__module__ != "__main__":
        return cls.__module__
    main = sys.modules["__main__"]
    if main.__spec__ is not None:
        return main.__spec__.name
    file = getattr(main, "__file__", None)
    return pathlib.Path(file).stem if file else "__main__"
