"""Checkpoints of a run: theta, its average, the outer optimizer, and every worker's estimator state."""

import hashlib
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
    """Keeps the last few checkpoints of a folder; a write is atomic and an earlier one is never touched."""

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
        arrays = _arrays((state, worker_states))
        self._manager.save(
            int(state.step),
            args=ocp.args.Composite(
                arrays=ocp.args.StandardSave(arrays), record=ocp.args.JsonSave({"digest": _digest(arrays)})
            ),
        )

    def restore(self, template: learner.LearnerState) -> tuple[learner.LearnerState, list[Any]]:
        """The latest checkpoint; `template` is a freshly initialised state of the same settings."""
        step = self.latest_step()
        assert step is not None
        workers = [
            worker.abstract_state(self._settings, template.theta, index, step - 1)
            for index in range(self._settings.num_workers)
        ]
        abstract = jax.tree.map(_abstract, (template, workers))
        where = self._folder / str(step)
        advice = f"delete that folder to resume from an earlier one in {self._folder}"
        try:
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    arrays=ocp.args.StandardRestore(_numbered(abstract)), record=ocp.args.JsonRestore()
                ),
            )
        except Exception as error:
            # Orbax and its storage raise many types for a damaged file; all mean the same to the user.
            reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
            raise CheckpointError(f"checkpoint {where} can't be read ({reason}); {advice}") from error
        arrays = {name: np.asarray(leaf) for name, leaf in restored["arrays"].items()}
        if _digest(arrays) != restored["record"]["digest"]:
            raise CheckpointError(f"checkpoint {where} is damaged: its digest does not match; {advice}")
        leaves = [arrays[name] for name in sorted(arrays)]
        state, states = jax.tree.unflatten(jax.tree.structure(abstract), leaves)
        return state._replace(step=int(state.step)), states

    def close(self) -> None:
        self._manager.close()


def _numbered(tree: Any) -> dict[str, Any]:
    return {f"{index:06d}": leaf for index, leaf in enumerate(jax.tree.leaves(tree))}


def _arrays(tree: Any) -> dict[str, np.ndarray]:
    return {name: np.asarray(leaf) for name, leaf in _numbered(tree).items()}


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    array = np.asarray(leaf) if isinstance(leaf, int) else leaf
    return jax.ShapeDtypeStruct(array.shape, array.dtype)


def _digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
