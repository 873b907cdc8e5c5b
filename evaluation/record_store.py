"""Measurements that are no curves, kept on disk: a function is called once for its arguments, then its arrays are read.

    store = RecordStore(folder)
    arrays = store.get(measure, family=family, batch_sizes=(1, 2, 4))  # computed now, read from now on

The function is at module level, takes keyword arguments, and returns a dictionary of arrays. It is a pure function of
its arguments, which are numbers, strings, tuples and frozen dataclasses, so that their `repr` says all of them.
"""

import hashlib
import json
import logging
import os
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from evaluation import curve_key
from tasks import prng
from tasks.family import TaskFamily

logger = logging.getLogger(__name__)

Arrays = Mapping[str, np.ndarray]
FORMAT = 1
SOURCES = ("tasks", prng.__name__, "evaluation.baselines", "evaluation.training")
"""Packages and modules whose code may take part in a measurement, beside those of its function and of the
settings that it takes."""


def key(function: Callable[..., Arrays], arguments: Mapping[str, Any]) -> str:
    """20 hexadecimal digits: the function, its arguments, their data, code, versions and backend."""
    parts = [part for value in arguments.values() for part in curve_key.parts(value)]
    modules = {type(part).__module__ for part in parts}
    content = {
        "format": FORMAT,
        "function": f"{function.__module__}:{function.__qualname__}",
        "arguments": {name: repr(value) for name, value in arguments.items()},
        "data": [curve_key.data_digest(part) for part in parts if isinstance(part, TaskFamily)],
        "versions": curve_key.versions(),
        "backend": jax.default_backend(),
        "source": curve_key.source_digest(*SOURCES, function.__module__, *sorted(modules)),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]


class RecordStore:
    """A folder of `.npz` files, one for each measurement; files whose names start with a dot are no records."""

    def __init__(self, folder: Path):
        """Makes the folder.

        Raises:
            OSError: in one line, if it can't be made.
        """
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(f"can't write records to {self.folder}: {error.strerror or error}") from None

    def path(self, function: Callable[..., Arrays], **arguments: Any) -> Path:
        """Where this measurement is, or will be."""
        name = re.sub(r"[^A-Za-z0-9]+", "_", f"{function.__module__.rpartition('.')[2]}-{function.__name__}")
        return self.folder / f"{name}-{key(function, arguments)}.npz"

    def get(self, function: Callable[..., Arrays], **arguments: Any) -> dict[str, np.ndarray]:
        """`function(**arguments)`, from the folder where it is there, computed and stored otherwise.

        A file that can't be read, because it is cut off for example, is logged and computed again.
        """
        path = self.path(function, **arguments)
        try:
            with np.load(path) as stored:
                return dict(stored)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            logger.warning("record %s is damaged (%s): measuring it again", path.name, error)
        arrays = {name: np.asarray(array) for name, array in function(**arguments).items()}
        temporary = path.with_name(f".{path.name}-{os.getpid()}.npz")
        np.savez(temporary, allow_pickle=False, **arrays)
        os.replace(temporary, path)
        return arrays
