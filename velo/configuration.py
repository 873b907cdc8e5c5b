"""Building a frozen dataclass from the scalars that a file records, checked field by field."""

import dataclasses
import hashlib
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from velo.tensor_file import WeightsError

MAX_SIZE = 2**16

T = TypeVar("T")


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def build(classes: Mapping[str, type[T]], name: str, fields: Mapping[str, Any]) -> T:
    """An instance of `classes[name]`; fields that the file lacks keep their defaults, so that old files stay loadable.

    Raises:
        WeightsError: the class or a field is unknown, or a value is of the wrong type or refused by the class.
    """
    if name not in classes:
        raise WeightsError(f"unknown architecture {name[:40]!r}, this version knows {sorted(classes)}")
    kinds = typing.get_type_hints(classes[name])
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
    """JSON has no tuples, and writes 1.0 and 1 alike."""
    if typing.get_origin(kind) is tuple and isinstance(value, list | tuple):
        (item, *_) = typing.get_args(kind)
        return tuple(_convert(field, entry, item) for entry in value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise WeightsError(f"{field} has to be of type {getattr(kind, '__name__', kind)}, got {str(value)[:40]!r}")
    if kind is int and abs(value) > MAX_SIZE:
        raise WeightsError(f"{field} = {value} is beyond {MAX_SIZE}, the largest size that is read from a file")
    return value
