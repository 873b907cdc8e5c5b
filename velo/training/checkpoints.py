"""Checkpoints of `velo.fit`: the whole state and the history, written atomically with Orbax."""

import logging
from os import PathLike
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from velo.extras import require
from velo.training.history import History
from velo.training.step import TrainState

KEEP = 2


class Checkpoints:
    """The last two checkpoints of a folder."""

    def __init__(self, folder: str | PathLike):
        self._orbax = require("orbax.checkpoint", "fit", "a checkpoint")
        logging.getLogger("absl").setLevel(logging.ERROR)
        self.folder = Path(folder).resolve()
        options = self._orbax.CheckpointManagerOptions(max_to_keep=KEEP, enable_async_checkpointing=False)
        self._manager = self._orbax.CheckpointManager(self.folder, options=options, item_names=("state", "record"))

    def latest_step(self) -> int | None:
        """Steps done at the last checkpoint; None without one."""
        return self._manager.latest_step()

    def save(self, state: TrainState, history: History) -> None:
        """Writes a checkpoint and returns when it is on the disk."""
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        arrays = _numbered(jax.tree.map(_data, state))
        record = {"shapes": _shapes(arrays), "history": history.to_json()}
        args = self._orbax.args
        state = args.StandardSave(_with_entries(arrays))
        self._manager.save(step, args=args.Composite(state=state, record=args.JsonSave(record)))

    def restore(self, template: TrainState) -> tuple[TrainState, History]:
        """The latest checkpoint.

        Raises:
            ValueError: it can't be read, or belongs to a run with other shapes.
        """
        step = self.latest_step()
        where = self.folder / str(step)
        arrays = _numbered(jax.tree.map(_data, template))
        record = self._read(step, "record", self._orbax.args.JsonRestore())
        if record["shapes"] != _shapes(arrays):
            raise ValueError(
                f"checkpoint {where} holds other shapes than this model, optimizer and model_state: "
                "resume with what it was started with, or choose another folder"
            )
        restored = arrays | self._read(step, "state", self._orbax.args.StandardRestore(_with_entries(arrays)))
        state = jax.tree.unflatten(jax.tree.structure(template), [restored[name] for name in sorted(arrays)])
        return jax.tree.map(_typed, state, template), History.from_json(record["history"])

    def _read(self, step: Any, item: str, how: Any) -> Any:
        try:
            return self._manager.restore(step, args=self._orbax.args.Composite(**{item: how}))[item]
        except Exception as error:
            # Orbax and its storage raise many types for a file that they can't read; all mean the same to the user.
            raise ValueError(
                f"checkpoint {self.folder / str(step)} can't be read ({type(error).__name__}): delete it to go on from "
                "an earlier one, or choose another folder"
            ) from error

    def close(self) -> None:
        """Releases the folder."""
        self._manager.close()


def _numbered(tree: Any) -> dict[str, Any]:
    return {f"{index:06d}": leaf for index, leaf in enumerate(jax.tree.leaves(tree))}


def _with_entries(arrays: dict[str, Any]) -> dict[str, Any]:
    """The arrays that have entries: Orbax refuses empty ones, which some states have."""
    return {name: array for name, array in arrays.items() if array.size}


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _data(leaf: Any) -> Any:
    """The leaf as plain numbers on the host; a PRNG key's words."""
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _shapes(arrays: dict[str, Any]) -> dict[str, str]:
    return {name: f"{array.dtype}{list(array.shape)}" for name, array in arrays.items()}


def _typed(leaf: Any, template: Any) -> jax.Array:
    if _is_key(template):
        return jax.random.wrap_key_data(jnp.asarray(leaf), impl=jax.random.key_impl(template))
    array = jnp.array(leaf, dtype=template.dtype)
    sharded = len(template.sharding.device_set) > 1
    return jax.device_put(array, template.sharding) if sharded else array
