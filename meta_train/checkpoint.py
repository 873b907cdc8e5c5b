"""Checkpoints of a run: theta, its average, the outer optimizer, and every worker's estimator state."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from meta_train import learner, worker
from meta_train.settings import MetaTraining

logging.getLogger("absl").setLevel(logging.ERROR)


class CheckpointError(ValueError):
    """A checkpoint that can't be read; names it and says what to do."""


class Checkpoints:
    """Keeps the last few checkpoints of a folder; a write is atomic and an earlier one is never touched.

    Beside each lies a manifest of its files' digests, so that damage is found before anything is read into a run.
    """

    def __init__(self, folder: Path, settings: MetaTraining):
        self._folder = folder.resolve()
        self._settings = settings
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=settings.execution.keep_checkpoints, enable_async_checkpointing=False
            ),
        )

    def latest_step(self) -> int | None:
        return self._manager.latest_step()

    def save(self, state: learner.LearnerState, worker_states: list[Any]) -> None:
        step = int(state.step)
        arrays = {name: np.asarray(leaf) for name, leaf in _numbered((state, worker_states)).items()}
        path = self._manifest(step)
        path.unlink(missing_ok=True)  # of a checkpoint of that step that somebody deleted
        self._manager.save(step, args=ocp.args.StandardSave(arrays))
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(_digests(self._folder / str(step)), indent=1))
        temporary.replace(path)
        for old in path.parent.glob("*.json"):
            if int(old.stem) not in self._manager.all_steps():
                old.unlink()

    def restore(self, template: learner.LearnerState) -> tuple[learner.LearnerState, list[Any]]:
        """The latest checkpoint; `template` is a freshly initialised state of the same settings."""
        step = self.latest_step()
        assert step is not None
        where = self._folder / str(step)
        earlier = len(self._manager.all_steps()) > 1
        advice = (
            f"delete {where} to {'resume from an earlier checkpoint' if earlier else 'start over: it is the only one'}"
        )
        manifest = self._manifest(step)
        if manifest.exists():
            stored, found = json.loads(manifest.read_text()), _digests(where)
            damaged = sorted(name for name in stored | found if stored.get(name) != found.get(name))
            if damaged:
                raise CheckpointError(f"checkpoint {where} is damaged ({', '.join(damaged[:3])}); {advice}")
        workers = [
            worker.abstract_state(self._settings, template.theta, index, step - 1)
            for index in range(self._settings.num_workers)
        ]
        abstract = jax.tree.map(_abstract, (template, workers))
        try:
            arrays = self._manager.restore(step, args=ocp.args.StandardRestore(_numbered(abstract)))
        except Exception as error:
            # Orbax and its storage raise many types for a file that they can't read; all mean the same to the user.
            raise CheckpointError(f"checkpoint {where} can't be read ({type(error).__name__}); {advice}") from error
        leaves = [np.asarray(arrays[name]) for name in sorted(arrays)]
        state, states = jax.tree.unflatten(jax.tree.structure(abstract), leaves)
        return state._replace(step=int(state.step)), states

    def _manifest(self, step: int) -> Path:
        return self._folder.with_name("manifests") / f"{step}.json"

    def close(self) -> None:
        self._manager.close()


def _numbered(tree: Any) -> dict[str, Any]:
    return {f"{index:06d}": leaf for index, leaf in enumerate(jax.tree.leaves(tree))}


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    array = np.asarray(leaf) if isinstance(leaf, int) else leaf
    return jax.ShapeDtypeStruct(array.shape, array.dtype)


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
