"""Atomic writes: a file holds all of the old bytes or all of the new, whatever happens while it is written."""

import contextlib
import os
import pathlib
import secrets


def write_atomically(path: str | os.PathLike, data: bytes | str) -> None:
    """Writes a temporary file beside `path`, then renames it. A full disk leaves the old file and no temporary one.

    Raises:
        OSError: it can't be written; of the type of the operating system's error, with one line that names the path.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with open(temporary, "xb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise type(error)(f"can't write {path}: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
