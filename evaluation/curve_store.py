"""Stores curves in a folder of Parquet files, one per curve; `pandas.read_parquet(folder)` reads them all.

A file has a row for every training step, with the columns

- `key`, `task`, `optimizer`, `hyperparameters` (JSON), `seed`, `num_steps`, `versions` (JSON)
- `step`, from 1
- `train_loss`, before the step, on its batch
- `valid_loss`, after the step; null at steps without a checkpoint
- `step_sizes`, a list with an entry for each of `tensors` (names as JSON); null at steps where none were recorded
- `seconds`, `cpu_seconds`, `compile_seconds`, `state_bytes`, `memory_bytes`, `num_lanes`: see `evaluation.curves.Cost`
"""

import dataclasses
import io
import json
import logging
import os
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from evaluation.curve_key import versions
from evaluation.curves import Cost, Curve, StepSizes
from velo.atomic_file import write_atomically

logger = logging.getLogger(__name__)

KEY = re.compile(r"[0-9A-Za-z]{1,64}")
MAX_NAME = 100
"""Maximum number of characters of a file's name before its key."""
COSTS = tuple(field.name for field in dataclasses.fields(Cost))
MAX_FILE_BYTES = 2**30
MAX_STEPS = 10**8

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("task", pa.string()),
        ("optimizer", pa.string()),
        ("hyperparameters", pa.string()),
        ("seed", pa.int64()),
        ("num_steps", pa.int64()),
        ("step", pa.int64()),
        ("train_loss", pa.float32()),
        ("valid_loss", pa.float32()),
        ("step_sizes", pa.list_(pa.float32())),
        ("tensors", pa.string()),
        ("seconds", pa.float64()),
        ("cpu_seconds", pa.float64()),
        ("compile_seconds", pa.float64()),
        ("state_bytes", pa.int64()),
        ("memory_bytes", pa.int64()),
        ("num_lanes", pa.int64()),
        ("versions", pa.string()),
    ]
)


class CurveStore:
    """Curves by key, each written once.

    Files whose names start with a dot are temporary or damaged; the store ignores them, and so does pandas.
    """

    def __init__(self, folder: Path):
        """Makes the folder.

        Raises:
            OSError: in one line, if the folder can't be written.
        """
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe = self.folder / f".probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise OSError(f"can't write curves to {self.folder}: {error.strerror or error}") from None

    def path(self, key: str, curve: Curve) -> Path:
        """The file to which a curve is written. Its name is for human readers; the key at its end identifies it."""
        names = f"{curve.task[:MAX_NAME]}-{curve.optimizer[:MAX_NAME]}"
        readable = re.sub(r"[^A-Za-z0-9_]+", "_", names.lstrip("_.")).strip("_")[:MAX_NAME]
        return self.folder / f"{readable or 'curve'}-{key}.parquet"

    def find(self, key: str) -> Path | None:
        """The file of the curve with this key.

        Raises:
            ValueError: in one line, if the key isn't 1 to 64 letters and digits; another could lead out of the folder.
        """
        if not KEY.fullmatch(key):
            raise ValueError(f"{key[:80]!r} is no key of a curve: a key has up to 64 letters and digits")
        return next(self.folder.glob(f"[!.]*-{key}.parquet"), None)

    def get(self, key: str) -> Curve | None:
        """The curve with this key, or None if it isn't stored.

        A file that can't be read, for example a truncated one, is renamed to `.damaged-NAME`, logged, and counts as
        missing.

        Raises:
            OSError: the file can't be opened.
            ValueError: the key isn't 1 to 64 letters and digits.
        """
        path = self.find(key)
        if path is None:
            return None
        try:
            return _read(path, key)
        except Exception as error:
            # Arrow and JSON raise many types for a file that they can't read; all of them mean a damaged curve. An
            # error of the operating system, which has an errno, says nothing about the file's content.
            if isinstance(error, OSError) and error.errno:
                raise
            aside = path.with_name(f".damaged-{path.name}")
            os.replace(path, aside)
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            logger.warning("curve %s is damaged (%s): kept as %s, running it again", path.name, reason, aside.name)
            return None

    def put(self, key: str, curve: Curve) -> Path:
        """Writes a curve atomically; does nothing if the key is stored already. Returns the file.

        Raises:
            OSError: in one line, if the file can't be written.
            ValueError: the key isn't 1 to 64 letters and digits.
        """
        path = self.find(key)
        if path is not None:
            return path
        path = self.path(key, curve)
        buffer = io.BytesIO()
        parquet.write_table(_to_table(curve, key), buffer)
        write_atomically(path, buffer.getvalue())
        return path


def _to_table(curve: Curve, key: str) -> pa.Table:
    """One row per training step; values that are constant over the run are repeated in every row."""
    num_steps = curve.num_steps
    valid_loss = np.zeros(num_steps, np.float32)
    valid_loss[curve.valid_steps - 1] = curve.valid_loss
    missing = np.ones(num_steps, bool)
    missing[curve.valid_steps - 1] = False
    step_sizes = curve.step_sizes
    sizes: list[np.ndarray | None] = [None] * num_steps
    if step_sizes is not None:
        for step, values in zip(step_sizes.steps, step_sizes.values, strict=True):
            sizes[step] = values
    constants = {
        "key": key,
        "task": curve.task,
        "optimizer": curve.optimizer,
        "hyperparameters": json.dumps(dict(curve.hyperparameters)),
        "seed": curve.seed,
        "num_steps": num_steps,
        "tensors": json.dumps(step_sizes.tensors if step_sizes else []),
        "versions": json.dumps(versions(), sort_keys=True),
        **dataclasses.asdict(curve.cost),
    }
    columns = {name: pa.array([value] * num_steps, SCHEMA.field(name).type) for name, value in constants.items()}
    columns["step"] = pa.array(np.arange(1, num_steps + 1))
    columns["train_loss"] = pa.array(curve.train_loss)  # NaN stays NaN: null means "not taken"
    columns["valid_loss"] = pa.array(valid_loss, mask=missing)
    columns["step_sizes"] = pa.array(sizes, SCHEMA.field("step_sizes").type)
    return pa.table({name: columns[name] for name in SCHEMA.names}, schema=SCHEMA)


def _read(path: Path, key: str) -> Curve:
    """Reads the curve in a file. Checks its size first, since the file may be damaged or hostile."""
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"a curve has at most {MAX_FILE_BYTES} bytes")
    with parquet.ParquetFile(path) as file:
        if file.metadata.num_rows > MAX_STEPS:
            raise ValueError(f"a curve has at most {MAX_STEPS} steps, not {file.metadata.num_rows}")
    return _from_table(parquet.read_table(path, schema=SCHEMA), key)


def _from_table(table: pa.Table, key: str) -> Curve:
    """The inverse of `_to_table`; raises ValueError if the rows aren't those of one whole curve with this key."""
    if not table.num_rows or table["key"][0].as_py() != key or table["num_steps"][0].as_py() != table.num_rows:
        raise ValueError("its rows are not those of this curve")
    first = table.slice(0, 1).to_pylist()[0]
    hyperparameters, tensors = json.loads(first["hyperparameters"]), json.loads(first["tensors"])
    if not all(isinstance(value, int | float) for value in hyperparameters.values()):
        raise ValueError("its hyperparameters are no numbers")
    if not all(isinstance(tensor, str) for tensor in tensors):
        raise ValueError("its tensors have no names")
    if None in [first[name] for name in ("task", "optimizer", "seed", *(set(COSTS) - {"memory_bytes"}))]:
        raise ValueError("a value is missing")
    valid_loss = table["valid_loss"].combine_chunks()
    taken = valid_loss.is_valid().to_numpy(zero_copy_only=False)
    return Curve(
        task=first["task"],
        optimizer=first["optimizer"],
        hyperparameters=tuple(sorted(hyperparameters.items())),
        seed=first["seed"],
        train_loss=table["train_loss"].to_numpy(),
        valid_steps=np.flatnonzero(taken) + 1,
        valid_loss=valid_loss.to_numpy(zero_copy_only=False)[taken],
        cost=Cost(**{name: first[name] for name in COSTS}),
        step_sizes=_step_sizes(table["step_sizes"].combine_chunks(), tuple(tensors)),
        key=key,
    )


def _step_sizes(column: pa.ListArray, tensors: tuple[str, ...]) -> StepSizes | None:
    """The step sizes in the rows that have them; None if the file names no tensors."""
    if not tensors:
        return None
    taken = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    values = column.flatten().to_numpy(zero_copy_only=False).reshape(len(taken), len(tensors))
    return StepSizes(tensors, taken, values)
