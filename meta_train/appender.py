"""Files that only grow, and that a full disk doesn't damage."""

import threading
from pathlib import Path


class Appender:
    """Appends to a file; what a full disk refuses is kept and written with the next."""

    def __init__(self, path: Path):
        self._path = path
        self._waiting = b""
        self._lock = threading.Lock()  # checkpoints are written, and report, beside the run

    def write(self, content: bytes) -> None:
        """All of it or, for now, nothing."""
        with self._lock:
            self._waiting += content
            try:
                with self._path.open("ab", buffering=0) as file:
                    size = file.tell()
                    if file.write(self._waiting) != len(self._waiting):
                        file.truncate(size)
                        return
            except OSError:
                return
            self._waiting = b""
