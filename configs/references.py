"""Turns a name of a command line into a value: a bundled one, or a user's own by `module:attribute`.

Each name is looked up once, here or in `configs.evaluation_names`. Code below the commands only gets values.
"""

import difflib
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import velo
from configs.fields import References
from tasks import fixed
from tasks.family import TaskFamily
from tasks.fixed import FixedTask, Suite
from tasks.mixture import MIXTURES, Mixture, NamedMixture, get_mixture
from velo.learned_optimizer import LearnedOptimizer
from velo.weights import check_saveable


class UnresolvedError(Exception):
    """What the user named doesn't exist or is of another kind; the message is one line.

    It is not a ValueError, since tyro drops the message of a ValueError that a field's parser raises.
    """


def load(reference: str) -> Any:
    """The object behind `module:attribute`.

    Raises:
        UnresolvedError: the module can't be imported, or has no such attribute.
    """
    module_name, _, attribute = reference.partition(":")
    try:
        found = importlib.import_module(module_name)
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}."):
            where = "neither the working folder nor the environment holds it"
            raise UnresolvedError(f"{reference}: there is no module {error.name}: {where}") from None
        raise UnresolvedError(f"{reference}: importing {module_name} failed: {error}") from error
    for name in attribute.split("."):
        if not hasattr(found, name):
            nearest = difflib.get_close_matches(name, dir(found), n=1)
            hint = f"; did you mean {nearest[0]}?" if nearest else ""
            raise UnresolvedError(f"{reference}: {module_name} has no {name or 'attribute without a name'}{hint}")
        found = getattr(found, name)
    return found


def instance(reference: str) -> Any:
    """The object behind `module:attribute`; a class whose fields all have defaults is instantiated.

    Raises:
        UnresolvedError: as `load`, or the class asks for arguments.
    """
    found = load(reference)
    if not isinstance(found, type):
        return found
    try:
        return found()
    except (TypeError, ValueError) as error:
        raise UnresolvedError(f"{reference} can't be built without arguments, name an instance: {error}") from None


def optimizer(text: str) -> LearnedOptimizer:
    """A learned optimizer that can be saved: `VeLO`, `module:MyOptimizer` or `module:INSTANCE`.

    Raises:
        UnresolvedError: there is no such optimizer, or its weights couldn't be saved.
    """
    found = instance(text) if ":" in text else _bundled("optimizer", text, velo.ARCHITECTURES)()
    if not isinstance(found, LearnedOptimizer):
        raise UnresolvedError(f"{text} is no velo.LearnedOptimizer, but {_described(found)}")
    try:
        check_saveable(found)
    except velo.WeightsError as error:
        raise UnresolvedError(f"{text}: {error}") from None
    return found


def architecture(text: str) -> type[LearnedOptimizer]:
    """A class `module:MyOptimizer`, for the weights files that name it.

    Raises:
        UnresolvedError: there is no such class.
    """
    found = load(text) if ":" in text else _bundled("architecture", text, velo.ARCHITECTURES)
    if not (isinstance(found, type) and issubclass(found, LearnedOptimizer)):
        raise UnresolvedError(f"{text} is no class of velo.LearnedOptimizer, but {_described(found)}")
    return found


def load_weights(path: Path, architectures: Sequence[type[LearnedOptimizer]]) -> tuple[LearnedOptimizer, velo.Theta]:
    """`velo.load_weights`, with the class of that name if the file holds one of a user's own.

    Raises:
        WeightsError: the class is not among them, or the file is damaged.
    """
    name = velo.weights_info(path).architecture
    own = [cls for cls in architectures if ":" in name and cls.__qualname__ == name.rpartition(":")[2]]
    return velo.load_weights(path, architecture=own[0] if own else None)


def mixture(text: str) -> NamedMixture:
    """A mixture of `tasks.mixture`, or `module:mixture`.

    Raises:
        UnresolvedError: there is no such mixture.
    """
    if ":" not in text:
        _bundled("mixture", text, MIXTURES)
        return get_mixture(text)
    found = instance(text)
    if not isinstance(found, Mixture):
        raise UnresolvedError(f"{text} is no tasks.mixture.Mixture, but {_described(found)}")
    return NamedMixture(text, found)


def suite(text: str) -> Suite:
    """A suite of `tasks.fixed`, or `module:TASKS` with a `FixedTask` or several.

    Raises:
        UnresolvedError: there is no such suite.
    """
    if ":" not in text:
        return Suite(text, tuple(fixed.TASKS[name] for name in _bundled("suite", text, fixed.SUITES)))
    found = load(text)
    tasks = found.tasks if isinstance(found, Suite) else (found,) if isinstance(found, FixedTask) else found
    if not isinstance(tasks, list | tuple) or not all(isinstance(task, FixedTask) for task in tasks):
        raise UnresolvedError(f"{text} is no tasks.fixed.Suite and holds no FixedTasks, but {_described(found)}")
    try:
        return Suite(text, tuple(tasks))
    except ValueError as error:
        raise UnresolvedError(f"{text}: {error}") from None


def task(text: str) -> FixedTask | TaskFamily:
    """A task of `tasks.fixed`, or `module:attribute` of a `FixedTask` or a `TaskFamily`.

    Raises:
        UnresolvedError: there is no such task.
    """
    found = instance(text) if ":" in text else _bundled("task", text, fixed.TASKS)
    if not isinstance(found, FixedTask | TaskFamily):
        raise UnresolvedError(
            f"{text} is no tasks.fixed.FixedTask and no tasks.family.TaskFamily, but {_described(found)}"
        )
    return found


def _bundled(kind: str, name: str, known: Mapping[str, Any]) -> Any:
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise UnresolvedError(
            f"unknown {kind} {name!r}; {hint}known: {', '.join(sorted(known))}; your own is module:attribute"
        )
    return known[name]


def _described(value: Any) -> str:
    return f"a {type(value).__qualname__}"


REFERENCES = References(values={Mixture: mixture, Suite: suite}, groups={LearnedOptimizer: optimizer})
"""How a command line names the values of settings."""
