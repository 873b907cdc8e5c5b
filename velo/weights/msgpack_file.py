"""Reads the msgpack files of `flax.serialization` that optimizers were released in, strictly.

`flax.serialization.msgpack_restore` isn't used: it sets no limits, so that a few bytes could claim any amount of
memory.
"""

from typing import Any

import msgpack
import numpy as np

from velo.weights.tensor_file import DTYPES, MAX_RANK, WeightsError

ARRAY_EXTENSION = 1
MAX_ENTRIES = 1024
MAX_DEPTH = 8
BY_NAME = {dtype.name: dtype for dtype in DTYPES.values()}
LIMITS = {"max_array_len": MAX_RANK, "max_map_len": MAX_ENTRIES, "max_str_len": 2**16}


def is_msgpack_map(data: bytes) -> bool:
    """Whether the first byte announces a map, as all of these files begin."""
    return len(data) > 0 and (data[0] & 0xF0 == 0x80 or data[0] in (0xDE, 0xDF))


def decode(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of theta by their path, and what else the file says.

    Three forms are known: theta itself; a map of params, gen_id and step; and a tuple of these three, which is a map
    of "0", "1" and "2".

    Raises:
        WeightsError: the file is none of these.
    """
    tree = _unpack(data)
    record: dict[str, Any] = {}
    for names in (("params", "gen_id", "step"), ("0", "1", "2")):
        if isinstance(tree, dict) and set(tree) == set(names):
            record = {"gen_id": tree[names[1]], "step": tree[names[2]]}
            tree = tree[names[0]]
    if not isinstance(record.get("gen_id", ""), str) or type(record.get("step", 0)) is not int:
        raise WeightsError("gen_id is not text or step is not an integer")
    arrays: dict[str, np.ndarray] = {}
    _flatten(tree, (), arrays)
    if not arrays:
        raise WeightsError("a msgpack file without arrays")
    return arrays, record


def _unpack(data: bytes) -> Any:
    size = len(data)
    try:
        return msgpack.unpackb(
            data, ext_hook=_array, raw=False, strict_map_key=True, max_bin_len=size, max_ext_len=size, **LIMITS
        )
    except WeightsError:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise WeightsError(f"not a msgpack file of arrays: {type(error).__name__} {str(error)[:100]}") from None


def _array(code: int, payload: bytes) -> np.ndarray:
    """Shape, dtype name and bytes in C order, packed once more."""
    if code != ARRAY_EXTENSION:
        raise WeightsError(f"unknown extension {code}")
    content = msgpack.unpackb(payload, raw=True, max_bin_len=len(payload), max_ext_len=0, **LIMITS)
    if not isinstance(content, list) or len(content) != 3:
        raise WeightsError("an array is not shape, dtype and bytes")
    shape, name, values = content
    if not isinstance(shape, list) or not all(type(size) is int and 0 <= size < 2**48 for size in shape):
        raise WeightsError("an array's shape is not a list of sizes")
    if not isinstance(name, bytes) or name.decode(errors="replace") not in BY_NAME:
        raise WeightsError(f"unknown dtype {str(name)[:40]}")
    dtype = BY_NAME[name.decode()]
    if not isinstance(values, bytes) or len(values) != _product(shape) * dtype.itemsize:
        raise WeightsError(f"shape {tuple(shape)} of {dtype.name} does not fill its bytes")
    return np.frombuffer(values, dtype).reshape(shape) if values else np.empty(shape, dtype)


def _product(shape: list[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


def _flatten(tree: Any, path: tuple[str, ...], arrays: dict[str, np.ndarray]) -> None:
    name = "/".join(path)
    if isinstance(tree, np.ndarray):
        if name in arrays:
            raise WeightsError(f"{name[:100]!r} is there twice")
        arrays[name] = tree
    elif isinstance(tree, dict) and len(path) < MAX_DEPTH:
        for key, value in tree.items():
            if not isinstance(key, str):
                raise WeightsError(f"{name[:100]!r} has a key that is no text")
            _flatten(value, (*path, key), arrays)
    else:
        raise WeightsError(f"{name[:100]!r} is neither an array nor a map of arrays")
