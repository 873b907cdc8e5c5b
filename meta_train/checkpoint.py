"""Checkpoints of a run: theta, its average, the state of the outer optimizer, and the progress of every worker."""

import hashlib
import json
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from meta_train import learner, worker
from meta_train.executor import WorkerStates
from meta_train.mirror import Mirror
from meta_train.set_aside import Report
from meta_train.settings import MetaTraining
from velo.atomic_file import write_atomically

logging.getLogger("absl").setLevel(logging.ERROR)


class CheckpointError(ValueError):
    """A checkpoint can't be read; the message names it and says what to do."""


class Checkpoints:
    """The last few checkpoints of a run's folder. A write is atomic, and changes no earlier checkpoint.

    Each checkpoint has a manifest, a JSON file with the digests of its files, so that damage is found before anything
    is read, and with the values that aren't arrays. A thread writes the checkpoints, one at a time.
    """

    def __init__(
        self,
        folder: Path,
        settings: MetaTraining,
        mirror: Mirror | None = None,
        report: Report = lambda kind, **facts: None,
    ):
        self._folder = folder.resolve()
        self._settings = settings
        self._mirror = mirror
        self._report = report
        self._manager = self._open()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future | None = None

    def _open(self) -> ocp.CheckpointManager:
        options = ocp.CheckpointManagerOptions(
            max_to_keep=self._settings.execution.keep_checkpoints, enable_async_checkpointing=False
        )
        try:
            return ocp.CheckpointManager(self._folder, options=options)
        except OSError:
            raise
        except Exception as error:
            # Orbax reads the metadata of every checkpoint here, and raises many types for those that it can't read.
            for step in self._steps_on_disk():
                self._check_digests(step, self._read_manifest(step))
            raise CheckpointError(f"the checkpoints in {self._folder} can't be read ({_reason(error)})") from error

    def latest_step(self) -> int | None:
        """The step of the last complete checkpoint, which has a manifest; None if there is no checkpoint.

        A checkpoint without one was cut off. If none has a manifest, it is the last of all: a copy from elsewhere may
        lack the manifests.
        """
        steps = sorted(self._manager.all_steps())
        whole = [step for step in steps if self._manifest(step).exists()]
        return (whole or steps or [None])[-1]

    def save(self, state: learner.LearnerState, workers: WorkerStates, *, wait: bool = False) -> None:
        """Starts to write a checkpoint.

        Without `wait`, it is passed over if an earlier one is still being written, and a failure is only reported: the
        run continues, and the next checkpoint tries again.

        Args:
            state: of the learner.
            workers: a snapshot of the executor.
            wait: write it after an earlier one, and return when it is on the disk.

        Raises:
            OSError: with `wait`, it can't be written.
        """
        if self._writing is not None and not wait and not self._writing.done():
            self._report("checkpoint_passed_over", step=int(state.step), reason="the last one is still being written")
            return
        arrays = {name: np.asarray(leaf) for name, leaf in _numbered((state, workers.states)).items()}
        notes = {"worker_steps": workers.steps, "set_aside": workers.set_aside}
        self._writing = self._thread.submit(self._write, int(state.step), arrays, notes)
        if wait:
            error = self._writing.result()
            if error is not None:
                raise error

    def _write(self, step: int, arrays: dict[str, np.ndarray], notes: dict[str, Any]) -> OSError | None:
        path = self._manifest(step)
        if path.exists() and step in self._manager.all_steps():  # whole: of a run that is resumed at its end
            return None
        try:
            path.unlink(missing_ok=True)  # of a checkpoint of that step that somebody deleted
            if step in self._manager.all_steps():  # cut off before its manifest, and computed again
                self._manager.delete(step)
            self._manager.save(step, args=ocp.args.StandardSave(arrays))
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, json.dumps({"files": _digests(self._folder / str(step))} | notes, indent=1))
            for old in path.parent.glob("*.json"):
                if int(old.stem) not in self._manager.all_steps():
                    old.unlink()
        except Exception as error:
            # Orbax and its storage raise many types for a disk that is full or gone.
            self._report("checkpoint_failed", step=step, reason=_reason(error))
            self._manager = self._open()  # without what was left half done
            where, whole = self._folder / str(step), self.latest_step()
            last = "there is no earlier one" if whole is None else f"the last whole one is {self._folder / str(whole)}"
            return OSError(f"checkpoint {where} can't be written ({_reason(error)}); {last}")
        if self._mirror is not None:
            self._mirror.put_checkpoint(self._folder.parent, step, self._settings.execution.keep_checkpoints)
        return None

    def restore(self, template: learner.LearnerState) -> tuple[learner.LearnerState, WorkerStates]:
        """The latest checkpoint.

        Args:
            template: an initial state of the same settings, which has the shapes.

        Raises:
            CheckpointError: it is damaged or can't be read; nothing has been changed.
        """
        step = self.latest_step()
        assert step is not None
        notes = self._read_manifest(step)
        self._check_digests(step, notes)
        workers = self._abstract_workers(template.theta, step, notes)
        abstract = jax.tree.map(_abstract, (template, workers.states))
        try:
            arrays = self._manager.restore(step, args=ocp.args.StandardRestore(_numbered(abstract)))
        except Exception as error:
            # Orbax and its storage raise many types for a file that they can't read; all mean the same to the user.
            advice = self._advice(step)
            raise CheckpointError(
                f"checkpoint {self._folder / str(step)} can't be read ({type(error).__name__}); {advice}"
            ) from error
        leaves = [np.asarray(arrays[name]) for name in sorted(arrays)]
        state, workers.states = jax.tree.unflatten(jax.tree.structure(abstract), leaves)
        return state._replace(step=int(state.step)), workers

    def _check_digests(self, step: int, notes: dict[str, Any]) -> None:
        """Raises `CheckpointError` if files of the checkpoint differ from its manifest, if it has one."""
        if not notes:
            return
        where = self._folder / str(step)
        stored, found = notes["files"], _digests(where)
        damaged = sorted(name for name in stored | found if stored.get(name) != found.get(name))
        if damaged:
            raise CheckpointError(f"checkpoint {where} is damaged ({', '.join(damaged[:3])}); {self._advice(step)}")

    def _advice(self, step: int) -> str:
        has_others = len(self._steps_on_disk()) > 1
        instead = "resume from an earlier checkpoint" if has_others else "start over: it is the only one"
        return f"delete {self._folder / str(step)} to {instead}"

    def _steps_on_disk(self) -> list[int]:
        return sorted(int(path.name) for path in self._folder.iterdir() if path.name.isdecimal())

    def _abstract_workers(self, theta: Any, step: int, notes: dict[str, Any]) -> WorkerStates:
        steps = notes.get("worker_steps", [step] * self._settings.num_workers)
        set_aside = notes.get("set_aside", {})
        states = [
            ()
            if step > 0 and repr(worker.family_of(self._settings, index, step - 1)) in set_aside.get("reasons", {})
            else worker.abstract_state(self._settings, theta, index, step - 1)
            for index, step in enumerate(steps)
        ]
        return WorkerStates(steps, states, set_aside)

    def _read_manifest(self, step: int) -> dict[str, Any]:
        path = self._manifest(step)
        if not path.exists():
            return {}
        try:
            stored = json.loads(path.read_text())
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{path} is damaged: {' '.join(str(error).split())[:200]}") from None
        # Earlier versions stored the digests alone.
        manifest = stored if isinstance(stored, dict) and "files" in stored else {"files": stored}
        steps, set_aside = manifest.get("worker_steps"), manifest.get("set_aside", {})
        notes = (manifest["files"], set_aside, *(set_aside.values() if isinstance(set_aside, dict) else ()))
        if not all(isinstance(note, dict) for note in notes) or not self._are_steps(steps):
            raise CheckpointError(
                f"{path} is damaged: it holds no digests, or not one step for each of the "
                f"{self._settings.num_workers} workers"
            )
        return manifest

    def _are_steps(self, steps: Any) -> bool:
        """Whether a manifest has a step for every worker, or none at all."""
        if steps is None:
            return True
        is_list = isinstance(steps, list) and len(steps) == self._settings.num_workers
        return is_list and all(type(step) is int and 0 <= step < 2**31 for step in steps)

    def _manifest(self, step: int) -> Path:
        return self._folder.with_name("manifests") / f"{step}.json"

    def close(self) -> None:
        """Waits until the last checkpoint is written."""
        self._thread.shutdown()
        self._manager.close()


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]


def _numbered(tree: Any) -> dict[str, Any]:
    return {f"{index:06d}": leaf for index, leaf in enumerate(jax.tree.leaves(tree))}


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    array = np.asarray(leaf) if isinstance(leaf, int) else leaf
    return jax.ShapeDtypeStruct(array.shape, array.dtype)


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
