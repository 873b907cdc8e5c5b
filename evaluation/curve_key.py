"""The key of a curve: a digest of everything that determines it."""

import functools
import hashlib
import importlib.metadata
import importlib.util
import json
from pathlib import Path

import jax
import numpy as np

from evaluation.baselines import Baseline
from evaluation.contender import Contender
from evaluation.training import Lane
from tasks.family import TaskFamily
from tasks.fixed import FixedTask
from velo import kernel

FORMAT = 2
"""Raise it when what a stored curve means changes."""
DISTRIBUTIONS = ("jax", "jaxlib", "optax", "velo")


def versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in DISTRIBUTIONS}


@functools.cache
def _source_digest(*modules: str) -> str:
    """Of the Python files behind modules and packages: a version alone doesn't change while code is worked on."""
    digest = hashlib.sha256()
    for name in modules:
        spec = importlib.util.find_spec(name)
        assert spec is not None, name
        assert spec.origin is not None, name
        origin = Path(spec.origin)
        files = sorted(origin.parent.rglob("*.py")) if spec.submodule_search_locations else [origin]
        for path in files:
            digest.update(path.relative_to(origin.parent).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def tree_digest(tree) -> str:
    """Of names, types, shapes and values of a pytree of arrays."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}\0".encode() + array.tobytes())
    return digest.hexdigest()


@functools.cache
def _data_digest(family: TaskFamily) -> str:
    return tree_digest(family.load())


def _module(kind: object) -> str:
    """Of a class or function."""
    return getattr(kind, "__module__", "") or ""


def _sources(task: FixedTask, contender: Contender) -> list[str]:
    """Modules and packages whose code makes a curve: ours, and the user's own where task or optimizer are."""
    rule = contender.rule
    own = {_module(type(task.family)), _module(rule.factory if isinstance(rule, Baseline) else type(rule))}
    own = {name for name in own if name.partition(".")[0] not in ("tasks", "velo", "evaluation", "optax", "")}
    rules = "velo" if contender.is_learned else "evaluation.baselines"
    return [
        "tasks",
        "evaluation.training",
        "evaluation.contender",
        "evaluation.step_sizes",
        rules,
        *sorted(own),
    ]


def common(task: FixedTask, contender: Contender, *, num_checkpoints: int, num_valid_batches: int) -> dict:
    """The part of a key that all runs of an optimizer on a task share, as something that JSON can write.

    Neither the name in the report nor how settings are chosen is part of it.
    """
    rule = contender.rule
    return {
        "format": FORMAT,
        "task": task.name,
        "family": repr(task.family),
        "data": _data_digest(task.family),
        "num_steps": task.num_steps,
        "num_checkpoints": num_checkpoints,
        "num_valid_batches": num_valid_batches,
        "rule": rule.name if isinstance(rule, Baseline) else f"{_module(type(rule))} {rule!r}",
        "theta": tree_digest(contender.theta),
        "versions": versions(),
        "backend": jax.default_backend() + (" with the kernel" if kernel.in_use() else ""),
        "source": _source_digest(*_sources(task, contender)),
    }


def key(common: dict, lane: Lane) -> str:
    """20 hexadecimal digits."""
    content = {**common, "hyperparameters": lane.hyperparameters, "seed": lane.seed}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]
