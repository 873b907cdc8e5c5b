"""Turns the names that users type for an evaluation into contenders and tasks.

An optimizer is `adam`, `nadamw_cosine@25`, `celo:weights.state`, `module:function` or `name=...` of any of these; tasks
are a suite, names of tasks, or `module:attribute`. `NamedEvaluation.resolve` looks each name up once.
"""

import dataclasses
import difflib
import importlib
import inspect
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from evaluation import baselines
from evaluation.baselines import Baseline
from evaluation.baselines.catalogue import RATES
from evaluation.settings import Contender, Evaluation, Procedure
from evaluation.tuning import LogGrid, OneShot, OptunaSearch, RandomSearch, Tuner
from tasks.fixed import SUITES, TASKS, FixedTask, get_suite
from velo.transformation import resolve_weights
from velo.weights import load_weights

PACKAGED = {"velo": "default", "light": "light", "untrained": "untrained"}
"""Learned optimizers that need no file: name -> `weights` argument of `velo.optimizer`."""
GRAMMAR = "[NAME=] baseline | velo | light | untrained | NAME:WEIGHTS_FILE | module:function, then [@BUDGET]"
BUDGETS = "@1 (the defaults), @25 (random search), @grid15 (learning rates), @optuna25"
REFERENCE = "adam"
"""The baseline that every other optimizer is compared with; tuned unless `@1` is typed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NamedEvaluation(Procedure):
    """An evaluation whose contenders and tasks are given by names, as typed."""

    suite: str = "demo"
    """A suite of `tasks.fixed`, comma-separated names of tasks, or `module:attribute` for tasks of your own."""
    optimizers: tuple[str, ...] = ("adam", "adam_cosine", "prodigy_cosine")
    """What is compared: `NAME`, `NAME@TRIALS`, `NAME:WEIGHTS_FILE`, `module:function` (docs/evaluation.md). Tuned
    `adam`, the reference, joins if it is left out."""
    num_rates: int = 15
    """Number of log-spaced learning rates to try for a baseline without a budget of its own."""
    steps_scale: float = 1.0
    """Factor on the number of steps of every task."""

    def __post_init__(self):
        super().__post_init__()
        if len(set(self.optimizers)) != len(self.optimizers):
            raise ValueError(f"Evaluation: optimizers must differ from each other, got {', '.join(self.optimizers)}")
        if not 2 <= self.num_rates <= 1000:
            raise ValueError(f"Evaluation: num_rates must be in [2, 1000], got {self.num_rates}")
        if not 0 < self.steps_scale <= 1000:
            raise ValueError(f"Evaluation: steps_scale must be in (0, 1000], got {self.steps_scale}")

    def resolve(self) -> Evaluation:
        """The contenders and tasks that the names stand for.

        Raises:
            ValueError: a name can't be parsed, loaded or told apart from another; the message is one line.
        """
        tasks = tuple(
            dataclasses.replace(task, num_steps=max(1, round(self.steps_scale * task.num_steps)))
            for task in parse_tasks(self.suite)
        )
        contenders = tuple(parse_contenders(self.optimizers, num_rates=self.num_rates))
        reference = next(contender.name for contender in contenders if is_reference(contender))
        procedure = {field.name: getattr(self, field.name) for field in dataclasses.fields(Procedure)}
        return Evaluation(contenders=contenders, tasks=tasks, reference=reference, suite=self.suite, **procedure)


def parse_contenders(texts: Sequence[str], *, num_rates: int) -> list[Contender]:
    """The optimizers of these names in their order, and the reference at the end if it isn't among them.

    Args:
        texts: what was typed, as in `GRAMMAR`.
        num_rates: length of the grid for baselines with a learning rate and without a budget.

    Raises:
        ValueError: a name can't be parsed, loaded or told apart from another; the message is one line.
    """
    found = [parse_contender(text, num_rates=num_rates) for text in texts]
    if not any(map(is_reference, found)):
        found.append(parse_contender(REFERENCE, num_rates=num_rates))
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two optimizers are called {name!r}: name one with {name}2=...")
    return found


def is_reference(contender: Contender) -> bool:
    """Whether it is the baseline Adam, whatever its name and budget."""
    return contender.optimizer == baselines.BASELINES[REFERENCE]


def parse_contender(text: str, *, num_rates: int = 15) -> Contender:
    """The optimizer of one name, as in `GRAMMAR`.

    Without `NAME=` the report calls it by what was typed, and a weights file by the name before the colon, or else by
    its file's or folder's name.

    Raises:
        ValueError: the name can't be parsed or loaded; the message is one line.
    """
    name, equals, rest = text.rpartition("=")
    if equals and not name:
        raise ValueError(f"optimizer {text!r} has an empty name; use {GRAMMAR}")
    body, at, budget = rest.rpartition("@")
    if not at:
        body, budget = rest, ""
    if at and not budget:
        raise ValueError(f"optimizer {text!r} has an empty budget; use {BUDGETS}")
    if not body:
        raise ValueError(f"optimizer {text!r} is empty; use {GRAMMAR}")
    base, colon, place = body.partition(":")
    if body in PACKAGED or _is_file(body) or (colon and _is_file(place)):
        return _learned(text, name, body, budget)
    if colon:
        baseline = _imported_baseline(base, place)
        name = name or (f"{baseline.name}@{budget}" if budget else baseline.name)
    else:
        baseline = baselines.get(body)
    return Contender(name or rest, baseline, tuner=_tuner(budget, baseline, num_rates))


def _is_file(text: str) -> bool:
    """Whether it is meant as a weights file."""
    return Path(text).is_file() or Path(text).suffix in (".velo", ".state")


def _learned(text: str, name: str, body: str, budget: str) -> Contender:
    """The contender of a weights file or of the package's weights."""
    if budget:
        raise ValueError(f"optimizer {text!r}: nothing about a learned optimizer is tuned, leave out @{budget}")
    if body in PACKAGED:
        return Contender(name or body, *resolve_weights(PACKAGED[body]))
    base, colon, place = body.partition(":")
    path = Path(place if colon and not Path(body).is_file() else body)
    if not path.is_file():
        raise ValueError(f"optimizer {text!r}: there is no weights file {path}")
    short = path.resolve().parent.name if path.stem == "weights" else path.stem
    return Contender(name or (base if colon else short), *load_weights(path))


def _tuner(budget: str, baseline: Baseline, num_rates: int) -> Tuner:
    """The tuner of a budget; `budget` is empty where none was typed."""
    if not budget:
        return LogGrid(num_rates) if "learning_rate" in dict(baseline.space) else OneShot()
    match = re.fullmatch(r"(grid|optuna|)(\d+)", budget)
    if match is None:
        raise ValueError(f"unknown budget @{budget}; use {BUDGETS}")
    kind, number = match[1], int(match[2])
    if kind == "grid":
        return LogGrid(number)
    if kind == "optuna":
        return OptunaSearch(number)
    return OneShot() if number == 1 else RandomSearch(number)


def _imported_baseline(module: str, attribute: str) -> Baseline:
    """A user's own: a `Baseline`, or a function (num_steps, **hyperparameters) -> optax transformation.

    Parameters with numbers as defaults are its hyperparameters; a `learning_rate` among them is tuned from 1e-5 to 1.
    """
    value = load_attribute("optimizer", module, attribute)
    if isinstance(value, Baseline):
        return value
    if not callable(value):
        raise ValueError(f"optimizer {module}:{attribute} is a {type(value).__name__}, no function and no Baseline")
    parameters = inspect.signature(value).parameters
    if "num_steps" not in parameters:
        raise ValueError(f"optimizer {module}:{attribute} must take num_steps, it takes: {', '.join(parameters)}")
    defaults = {
        name: float(parameter.default)
        for name, parameter in parameters.items()
        if name != "num_steps"
        and isinstance(parameter.default, int | float)
        and not isinstance(parameter.default, bool)
    }
    space = (("learning_rate", RATES),) if "learning_rate" in defaults else ()
    factory = ImportedFactory(module, attribute, tuple(defaults))
    return Baseline(f"{module}:{attribute}", factory, "the user's own", space, tuple(defaults.items()))


@dataclasses.dataclass(frozen=True)
class ImportedFactory:
    """A user's function as the factory of a baseline, held by reference, so that it compares equal in every process."""

    module: str
    """Module of the function; its source code is part of a curve's key (`evaluation.curve_key`)."""
    attribute: str
    hyperparameters: tuple[str, ...]
    """The arguments that are hyperparameters."""

    def __call__(self, hyperparameters, num_steps):
        """The optax transformation for a run."""
        function = getattr(importlib.import_module(self.module), self.attribute)
        return function(num_steps=num_steps, **{name: hyperparameters[name] for name in self.hyperparameters})


def load_attribute(kind: str, module: str, attribute: str) -> Any:
    """`attribute` of a module that Python can import; ValueErrors in one line name what is missing."""
    try:
        loaded = importlib.import_module(module)
    except ImportError as error:
        if error.name is not None and (module == error.name or module.startswith(f"{error.name}.")):
            raise ValueError(f"{kind} {module}:{attribute}: there is no module {module} and no such file") from None
        raise ValueError(f"{kind} {module}:{attribute}: importing it failed: {error}") from error
    if not hasattr(loaded, attribute):
        raise ValueError(f"{kind} {module}:{attribute}: the module has no {attribute}")
    return getattr(loaded, attribute)


def parse_tasks(suite: str) -> list[FixedTask]:
    """The tasks of a suite, of a comma-separated list of suites and tasks, or a user's `FixedTask` or list of them.

    Raises:
        ValueError: a name is unknown, a type is wrong, or two tasks have one name; the message is one line.
    """
    found: list[FixedTask] = []
    for name in filter(None, (part.strip() for part in suite.split(","))):
        module, colon, attribute = name.partition(":")
        if colon:
            found += _imported_tasks(module, attribute)
        elif name in SUITES:
            found += get_suite(name)
        else:
            check_known("suite", name, [*SUITES, *TASKS])
            found.append(TASKS[name])
    if not found:
        raise ValueError(f"suite {suite!r} names no task; known suites: {', '.join(SUITES)}")
    names = [task.name for task in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"suite {suite!r} has two tasks called {name!r}")
    return found


def _imported_tasks(module: str, attribute: str) -> list[FixedTask]:
    """A user's own `FixedTask`, several, or a function without arguments that returns either."""
    value: Any = load_attribute("task", module, attribute)
    if callable(value) and not isinstance(value, FixedTask):
        value = value()
    found: list[Any] = (
        [value] if isinstance(value, FixedTask) else list(value) if isinstance(value, Iterable) else [value]
    )
    for task in found:
        if not isinstance(task, FixedTask):
            raise ValueError(f"task {module}:{attribute} must be a FixedTask or several, got {type(task).__name__}")
    return found


def check_known(kind: str, name: str, known: Iterable[str]) -> None:
    """Raises a ValueError that names the nearest valid name unless `name` is in `known`."""
    names = sorted(known)
    if name not in names:
        nearest = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise ValueError(f"unknown {kind} {name!r}; {hint}known: {', '.join(names)}")
