"""Files that hold all of the old bytes or all of the new, whatever happens while they are written."""

import contextlib
import os
import pathlib
import secrets


def write_atomically(path: str | os.PathLike, data: bytes | str) -> None:
    """Writes beside the file, then renames. A full disk leaves the old file, and nothing beside it.

    Raises:
        OSError: in one line that names the path; of the type of the operating system's error.
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
