"""Files that are only appended to, and that a full disk doesn't damage."""

import threading
from pathlib import Path


class Appender:
    """Appends to a file. Bytes that a full disk refuses are kept in memory and written with the next ones."""

    def __init__(self, path: Path):
        self._path = path
        self._waiting = b""
        self._lock = threading.Lock()  # the thread that writes checkpoints reports events too

    def write(self, content: bytes) -> None:
        """Appends all of `content`, or nothing of it for now."""
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
