"""What users type for tasks: a suite, names of tasks, or `module:attribute` for their own."""

import difflib
from collections.abc import Iterable
from typing import Any

from evaluation.specification import load_attribute
from tasks.fixed import SUITES, TASKS, FixedTask, get_suite


def resolve(suite: str) -> list[FixedTask]:
    """The tasks of a suite, of a comma-separated list of suites and tasks, or a user's `FixedTask` or list of them.

    Raises:
        ValueError: in one line, on an unknown name, a wrong type, or two tasks of one name.
    """
    tasks: list[FixedTask] = []
    for name in filter(None, (part.strip() for part in suite.split(","))):
        module, colon, attribute = name.partition(":")
        if colon:
            tasks += _imported(module, attribute)
        elif name in SUITES:
            tasks += get_suite(name)
        else:
            check_known("suite", name, [*SUITES, *TASKS])
            tasks.append(TASKS[name])
    if not tasks:
        raise ValueError("suite is empty")
    names = [task.name for task in tasks]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"suite {suite!r} has two tasks called {name!r}")
    return tasks


def _imported(module: str, attribute: str) -> list[FixedTask]:
    value: Any = load_attribute("task", module, attribute)
    if callable(value) and not isinstance(value, FixedTask):
        value = value()
    tasks: list[Any] = (
        [value] if isinstance(value, FixedTask) else list(value) if isinstance(value, Iterable) else [value]
    )
    for task in tasks:
        if not isinstance(task, FixedTask):
            raise ValueError(f"task {module}:{attribute} must be a FixedTask or several, got {type(task).__name__}")
    return tasks


def check_known(kind: str, name: str, known: Iterable[str]) -> None:
    """Raises a ValueError that names the nearest valid name unless `name` is in `known`."""
    names = sorted(known)
    if name not in names:
        nearest = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise ValueError(f"unknown {kind} {name!r}; {hint}known: {', '.join(names)}")
