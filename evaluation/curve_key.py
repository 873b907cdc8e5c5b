"""The key of a curve: a digest of everything that determines it.

That is: the task and its data; the numbers of steps, checkpoints and validation batches; the optimizer, its theta and
hyperparameters; the seed; the versions of JAX, optax and this package; the backend; and the source code that computes
the run. A change to any of them gives another key, so a curve of older code is never taken for one of today's.
Comments, docstrings and formatting of Python files don't count as code.
"""

import ast
import dataclasses
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from evaluation.baselines import Baseline
from evaluation.settings import Contender
from evaluation.training import Lane
from tasks.family import TaskFamily
from tasks.fixed import FixedTask
from velo.architectures.velo import kernel

FORMAT = 2
"""Increase it when the meaning of stored curves changes, so that older ones aren't found."""
DISTRIBUTIONS = ("jax", "jaxlib", "optax", "velo")
RUN_SOURCES = ("tasks", "evaluation.training", "evaluation.step_sizes")
"""Packages and modules whose code takes part in every run: the tasks, with the random numbers of their batches
(`tasks.prng`), and the training loop."""
COVERED = ("tasks.", "velo.", "evaluation.baselines.", "optax.")
"""Prefixes of modules that the key covers anyway, by their source or by the version of their distribution."""
CODE_SUFFIXES = (".py", ".cpp", ".h")


def backend() -> str:
    """JAX's backend, and whether the kernel runs on it."""
    return jax.default_backend() + (" with the kernel" if kernel.in_use() else "")


def versions() -> dict[str, str]:
    """Distribution -> version, for the distributions that compute a run."""
    return {name: importlib.metadata.version(name) for name in DISTRIBUTIONS}


@functools.cache
def source_digest(*modules: str) -> str:
    """Digest of the code of modules and packages, 64 hexadecimal digits. A version doesn't change during development.

    Python files count without comments, docstrings and formatting; the C++ files of a package count as they are.
    """
    digest = hashlib.sha256()
    for name in modules:
        spec = importlib.util.find_spec(name)
        assert spec is not None, name
        assert spec.origin is not None, name
        origin = Path(spec.origin)
        files = origin.parent.rglob("*") if spec.submodule_search_locations else [origin]
        for path in sorted(path for path in files if path.suffix in CODE_SUFFIXES):
            digest.update(path.relative_to(origin.parent).as_posix().encode() + b"\0" + _code(path) + b"\0")
    return digest.hexdigest()


@functools.cache
def _code(path: Path) -> bytes:
    """A Python file's syntax tree without strings that are statements; another file's bytes as they are."""
    text = path.read_bytes()
    if path.suffix != ".py":
        return text
    return ast.dump(_WithoutStrings().visit(ast.parse(text))).encode()


class _WithoutStrings(ast.NodeTransformer):
    """Removes strings that are statements: docstrings of modules, classes, functions and fields."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        is_string = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_string else node


def tree_digest(tree) -> str:
    """Digest of the paths, dtypes, shapes and values of a pytree of arrays, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}\0".encode() + array.tobytes())
    return digest.hexdigest()


def data_digest(family: TaskFamily) -> str:
    """Digest of the family's training and validation data."""
    # Families with different data may compare equal, so that they share a program. Their `repr` differs: cache by both.
    return _data_digest(family, repr(family))


@functools.cache
def _data_digest(family: TaskFamily, text: str) -> str:
    del text
    return tree_digest(family.load())


def _module(kind: object) -> str:
    """The module of a class or function; of an object with an attribute `module`, the module that it names."""
    return getattr(kind, "module", None) or getattr(kind, "__module__", None) or ""


def parts(settings: Any) -> Iterator[Any]:
    """A dataclass and those in its fields and tuples, at any depth: a wrapper's family, a family's optimizer."""
    if isinstance(settings, tuple):
        for item in settings:
            yield from parts(item)
    if dataclasses.is_dataclass(settings):
        yield settings
        for field in dataclasses.fields(settings):
            yield from parts(getattr(settings, field.name))


def sources(task: FixedTask, contender: Contender) -> list[str]:
    """Modules and packages whose code computes the curve: ours, and those of a user's own task and optimizer."""
    optimizer = contender.optimizer
    modules = {_module(type(part)) for part in parts(task.family)}
    modules.add(_module(optimizer.factory if isinstance(optimizer, Baseline) else type(optimizer)))
    packages = {name.partition(".")[0] for name in modules}
    own = {name for name in modules if name and not f"{name}.".startswith(COVERED)}
    optimizers = "velo" if contender.is_learned else "evaluation.baselines"
    # A task may hold a learned optimizer: one whose theta is what the task trains.
    held = ["velo"] if "velo" in packages and not contender.is_learned else []
    return [*RUN_SOURCES, optimizers, *held, *sorted(own)]


def common(task: FixedTask, contender: Contender, *, num_checkpoints: int, num_valid_batches: int) -> dict:
    """The part of a key that all runs of a contender on a task share, as JSON values.

    It doesn't include the contender's name in the report, nor how its hyperparameters are chosen.
    """
    optimizer = contender.optimizer
    return {
        "format": FORMAT,
        "task": task.name,
        "family": repr(task.family),
        "data": data_digest(task.family),
        "num_steps": task.num_steps,
        "num_checkpoints": num_checkpoints,
        "num_valid_batches": num_valid_batches,
        "rule": optimizer.name if isinstance(optimizer, Baseline) else f"{_module(type(optimizer))} {optimizer!r}",
        "theta": tree_digest(contender.theta),
        "versions": versions(),
        "backend": backend(),
        "source": source_digest(*sources(task, contender)),
    }


def key(common: dict, lane: Lane) -> str:
    """The key of one run, 20 hexadecimal digits, from the result of `common` and the run's lane."""
    content = {**common, "hyperparameters": lane.hyperparameters, "seed": lane.seed}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]
