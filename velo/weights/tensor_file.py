"""The safetensors layout: named arrays behind a JSON header, read strictly.

Layout (https://huggingface.co/docs/safetensors): eight bytes with the length of the header (little endian), the header
(JSON: name -> dtype, shape, data_offsets; `__metadata__` -> text by name), then the arrays' bytes without gaps.
No code is stored, so none can run.
"""

import hashlib
import json
import math
import os
import pathlib
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

MAX_FILE_BYTES = 2**28
MAX_HEADER_BYTES = 2**20
MAX_RANK = 16
METADATA = "__metadata__"
DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "U16": np.dtype(np.uint16),
    "U32": np.dtype(np.uint32),
    "U64": np.dtype(np.uint64),
    "I8": np.dtype(np.int8),
    "I16": np.dtype(np.int16),
    "I32": np.dtype(np.int32),
    "I64": np.dtype(np.int64),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(jnp.bfloat16),
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


class WeightsError(ValueError):
    """A weights file that cannot be read, or that does not hold what it should."""


def read_bytes(path: str | os.PathLike) -> bytes:
    """The whole of a regular file of at most `MAX_FILE_BYTES`.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: it is not a regular file, or is too large.
    """
    path = pathlib.Path(path)
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise FileNotFoundError(
            f"there is no weights file {path.absolute()}: velo-meta-train writes runs/NAME/weights.velo, and "
            'weights="untrained" needs no file'
        ) from None
    if not path.is_file():
        raise WeightsError(f"{path}: not a file")
    if size > MAX_FILE_BYTES:
        raise WeightsError(f"{path}: {size} bytes, at most {MAX_FILE_BYTES} can be a weights file")
    return path.read_bytes()


def is_tensor_file(data: bytes) -> bool:
    """Whether the bytes start as this layout does."""
    return len(data) >= 9 and int.from_bytes(data[:8], "little") <= MAX_HEADER_BYTES and data[8:9] == b"{"


def decode(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays (read-only views of `data`) and the metadata.

    Raises:
        WeightsError: anything deviates from the layout; the arrays have to cover the bytes exactly, in some order.
    """
    if not is_tensor_file(data):
        raise WeightsError("not a safetensors file: no header")
    start = 8 + int.from_bytes(data[:8], "little")
    if start > len(data):
        raise WeightsError(f"truncated: the header ends at byte {start} of {len(data)}")
    header = _parse_header(data[8:start])
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise WeightsError("the metadata is not a map from text to text")
    body = memoryview(data)[start:]
    spans = {name: _span(name, entry, len(body)) for name, entry in header.items()}
    end = 0
    for begin, stop, *_ in sorted(spans.values(), key=lambda span: span[:2]):
        if begin != end:
            raise WeightsError(f"arrays overlap or leave a gap at byte {end} of the data")
        end = stop
    if end != len(body):
        raise WeightsError(f"the arrays end at byte {end} of the data, which has {len(body)}")
    return {name: _view(name, body, *span) for name, span in spans.items()}, metadata


def encode(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a file; the same arrays and metadata give the same bytes.

    Raises:
        WeightsError: an array's dtype is unknown to the layout, or the header or the file would be too large to read.
    """
    header: dict[str, object] = {METADATA: dict(metadata)}
    pieces = []
    end = 0
    for name in sorted(arrays):
        array = arrays[name]
        if array.dtype not in NAMES:
            raise WeightsError(f"{name}: cannot store dtype {array.dtype}")
        # tobytes is in C order whatever the strides; the layout is little endian, as every machine that runs JAX is
        pieces.append(array.tobytes())
        span = [end, end + len(pieces[-1])]
        header[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape), "data_offsets": span}
        end = span[1]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER_BYTES:
        raise WeightsError(f"a header of {len(text)} bytes, at most {MAX_HEADER_BYTES} can be read again")
    if 8 + len(text) + end > MAX_FILE_BYTES:
        raise WeightsError(f"{end} bytes of arrays, at most {MAX_FILE_BYTES} can be read again")
    return len(text).to_bytes(8, "little") + text + b"".join(pieces)


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, dtypes, shapes and values, whatever the order of the arrays."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        total.update(json.dumps([name, NAMES.get(array.dtype, str(array.dtype)), list(array.shape)]).encode())
        total.update(array.tobytes())
    return total.hexdigest()


def _parse_header(text: bytes) -> dict:
    try:
        header = json.loads(text.decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"the header is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise WeightsError("the header is not a JSON map")
    return header


def _unique(pairs: list[tuple[str, object]]) -> dict:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise WeightsError("the header names something twice")
    return unique


def _span(name: str, entry: object, num_bytes: int) -> tuple[int, int, np.dtype, tuple[int, ...]]:
    """Begin and end in the data, dtype and shape of one array."""
    name = repr(name[:100])
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise WeightsError(f"{name}: needs dtype, shape and data_offsets and nothing else")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise WeightsError(f"{name}: unknown dtype {str(dtype)[:40]!r}")
    if not _are_counts(shape) or len(shape) > MAX_RANK:
        raise WeightsError(f"{name}: the shape is not a list of at most {MAX_RANK} sizes")
    if not _are_counts(offsets) or len(offsets) != 2 or not offsets[0] <= offsets[1] <= num_bytes:
        raise WeightsError(f"{name}: the data_offsets do not lie in the {num_bytes} bytes of data")
    expected = math.prod(shape) * DTYPES[dtype].itemsize
    if expected != offsets[1] - offsets[0]:
        raise WeightsError(f"{name}: shape {tuple(shape)} of {dtype} does not fill {offsets[1] - offsets[0]} bytes")
    return offsets[0], offsets[1], DTYPES[dtype], tuple(shape)


def _view(name: str, body: memoryview, begin: int, stop: int, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    try:
        return np.frombuffer(body[begin:stop], dtype).reshape(shape) if stop > begin else np.empty(shape, dtype)
    except ValueError as error:  # an empty array may still declare more than numpy can address
        raise WeightsError(f"{name[:100]!r}: {error}") from None


def _are_counts(values: object) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**48 for value in values)
