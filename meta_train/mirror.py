"""A copy of a run's settings and checkpoints at an fsspec URL, from which another machine can resume."""

import io
import posixpath
import re
import tarfile
from pathlib import Path

import fsspec

from meta_train.run_folder import SETTINGS_FILE, RunFolderError
from meta_train.set_aside import Report
from velo.atomic_file import write_atomically

_NAME = re.compile(r"checkpoint-(\d+)\.tar")


class Mirror:
    """Each checkpoint is one object, so that a copy is complete or absent. A failing store is reported, not fatal.

    Raises:
        RunFolderError: the URL's protocol is unknown, or its package isn't installed.
    """

    def __init__(self, url: str, report: Report = lambda kind, **facts: None):
        self._url = url
        self._report = report
        try:
            self._files, self._path = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise RunFolderError(f"mirror {url}: {error}") from None

    def put_settings(self, folder: Path) -> None:
        """Copies the settings of a run."""
        self._put(SETTINGS_FILE, (folder / SETTINGS_FILE).read_bytes())

    def put_checkpoint(self, folder: Path, step: int, keep: int) -> None:
        """Copies a checkpoint with its manifest, then deletes all but the last `keep`."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(folder / "checkpoints" / str(step), f"checkpoints/{step}")
            archive.add(folder / "manifests" / f"{step}.json", f"manifests/{step}.json")
        if not self._put(_name(step), packed.getvalue()):
            return
        try:
            for old in self._steps()[:-keep]:
                self._files.rm_file(self._join(_name(old)))
        except Exception as error:
            self._failed(f"old checkpoints: {error}")

    def fetch(self, folder: Path) -> None:
        """Copies the settings and the last checkpoint into a folder that has none.

        Raises:
            OSError: the store can't be read.
            RunFolderError: it holds no run, or a damaged one.
        """
        if not self._files.exists(self._join(SETTINGS_FILE)):
            raise RunFolderError(f"mirror {self._url} holds no run to resume")
        folder.mkdir(parents=True, exist_ok=True)
        steps = self._steps()
        if steps:
            packed = io.BytesIO(self._files.cat_file(self._join(_name(steps[-1]))))
            try:
                with tarfile.open(fileobj=packed) as archive:
                    archive.extractall(folder, filter="data")
            except tarfile.TarError as error:
                raise RunFolderError(f"mirror {self._url}: {_name(steps[-1])} is damaged: {error}") from None
        write_atomically(folder / SETTINGS_FILE, self._files.cat_file(self._join(SETTINGS_FILE)))

    def _steps(self) -> list[int]:
        names = [posixpath.basename(path) for path in self._files.ls(self._path, detail=False)]
        return sorted(int(match[1]) for match in map(_NAME.fullmatch, names) if match)

    def _put(self, name: str, content: bytes) -> bool:
        try:
            self._files.makedirs(self._path, exist_ok=True)
            self._files.pipe_file(self._join(f"{name}.part"), content)
            self._files.mv(self._join(f"{name}.part"), self._join(name))
        except Exception as error:
            # Every store has its own errors; all mean that the copy is not there, and the next checkpoint tries again.
            self._failed(f"{name}: {type(error).__name__}: {error}")
            return False
        return True

    def _failed(self, reason: str) -> None:
        self._report("mirror_failed", url=self._url, reason=reason[:500])

    def _join(self, name: str) -> str:
        return posixpath.join(self._path, name)


def _name(step: int) -> str:
    return f"checkpoint-{step:08d}.tar"
