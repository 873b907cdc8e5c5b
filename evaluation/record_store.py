"""Stores measurements other than curves on disk: a function is computed once per set of arguments, then read back.

    store = RecordStore(folder)
    arrays = store.get(measure, family=family, batch_sizes=(1, 2, 4))  # computed by the first call, then read

The function must be pure and at module level, take keyword arguments, and return a dictionary of arrays. Its arguments
must be numbers, strings, tuples and frozen dataclasses: their `repr` identifies them in the key.
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

import numpy as np

from evaluation import curve_key
from tasks.family import TaskFamily

logger = logging.getLogger(__name__)

Arrays = Mapping[str, np.ndarray]
FORMAT = 1
SOURCES = ("tasks", "evaluation.baselines", "evaluation.training")
"""Packages and modules whose code may affect any measurement. The modules of its function and arguments count too."""


def key(function: Callable[..., Arrays], arguments: Mapping[str, Any]) -> str:
    """Digest of function name, arguments, data of task families, versions, backend and code: 20 hexadecimal digits."""
    parts = [part for value in arguments.values() for part in curve_key.parts(value)]
    modules = {type(part).__module__ for part in parts}
    content = {
        "format": FORMAT,
        "function": f"{function.__module__}:{function.__qualname__}",
        "arguments": {name: repr(value) for name, value in arguments.items()},
        "data": [curve_key.data_digest(part) for part in parts if isinstance(part, TaskFamily)],
        "versions": curve_key.versions(),
        "backend": curve_key.backend(),
        "source": curve_key.source_digest(*SOURCES, function.__module__, *sorted(modules)),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]


class RecordStore:
    """A folder of `.npz` files, one per measurement; files whose names start with a dot are not records."""

    def __init__(self, folder: Path):
        """Makes the folder.

        Raises:
            OSError: in one line, if the folder can't be made.
        """
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(f"can't write records to {self.folder}: {error.strerror or error}") from None

    def path(self, function: Callable[..., Arrays], **arguments: Any) -> Path:
        """The file of this measurement, which need not exist yet."""
        name = re.sub(r"[^A-Za-z0-9]+", "_", f"{function.__module__.rpartition('.')[2]}-{function.__name__}")
        return self.folder / f"{name}-{key(function, arguments)}.npz"

    def get(self, function: Callable[..., Arrays], **arguments: Any) -> dict[str, np.ndarray]:
        """`function(**arguments)`: read from the folder, or computed and stored if it isn't there.

        If its file can't be read, for example a truncated one, that is logged and the measurement is computed again.
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
