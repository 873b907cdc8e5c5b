"""What users type for an optimizer: `adam`, `nadamw_cosine@25`, `celo:weights.state`, `module:function`, `name=...`."""

import importlib
import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation import baselines
from evaluation.baselines import Baseline
from evaluation.baselines.catalogue import RATES
from evaluation.contender import Contender
from evaluation.tuning import LogGrid, OneShot, OptunaSearch, RandomSearch, Tuner
from velo.transformation import resolve_weights
from velo.weights import load_weights

PACKAGED = {"velo": "default", "untrained": "untrained"}
"""Learned optimizers that need no file, as `velo.optimizer` calls their weights."""
GRAMMAR = "[NAME=] baseline | velo | untrained | NAME:WEIGHTS_FILE | module:function, then [@BUDGET]"
BUDGETS = "@1 (the defaults), @25 (random search), @grid15 (learning rates), @optuna25"
REFERENCE = "adam"
"""The baseline that everything is relative to, tuned as its specification says."""


def contenders(specifications: Sequence[str], *, num_rates: int) -> list[Contender]:
    """The optimizers in their order, and the reference at the end if it isn't among them.

    Args:
        specifications: as in `GRAMMAR`.
        num_rates: of the grid for baselines without a budget that have a rate.

    Raises:
        ValueError: in one line, on whatever can't be understood, loaded or told apart.
    """
    found = [parse(text, num_rates=num_rates) for text in specifications]
    if not any(is_reference(contender) for contender in found):
        found.append(parse(REFERENCE, num_rates=num_rates))
    names = [contender.name for contender in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two optimizers are called {name!r}: name one with {name}2=...")
    return found


def is_reference(contender: Contender) -> bool:
    return contender.rule == baselines.BASELINES[REFERENCE]


def parse(text: str, *, num_rates: int = 15) -> Contender:
    """One optimizer of `GRAMMAR`; it is called by what was typed unless it is given a name."""
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
        rule = _imported(base, place)
        name = name or (f"{rule.name}@{budget}" if budget else rule.name)
    else:
        rule = baselines.get(body)
    return Contender(name or rest, rule, tuner=_tuner(budget, rule, num_rates))


def _is_file(text: str) -> bool:
    return Path(text).is_file() or Path(text).suffix in (".velo", ".state")


def _learned(text: str, name: str, body: str, budget: str) -> Contender:
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


def _tuner(budget: str, rule: Baseline, num_rates: int) -> Tuner:
    if not budget:
        return LogGrid(num_rates) if "learning_rate" in dict(rule.space) else OneShot()
    match = re.fullmatch(r"(grid|optuna|)(\d+)", budget)
    if match is None:
        raise ValueError(f"unknown budget @{budget}; use {BUDGETS}")
    kind, number = match[1], int(match[2])
    if kind == "grid":
        return LogGrid(number)
    if kind == "optuna":
        return OptunaSearch(number)
    return OneShot() if number == 1 else RandomSearch(number)


def _imported(module: str, attribute: str) -> Baseline:
    """A user's own: a `Baseline`, or a function (num_steps, **hyperparameters) -> optax transformation.

    Parameters with numbers as defaults are its hyperparameters; a `learning_rate` among them is tuned from 1e-5 to 1.
    """
    value = load_attribute("optimizer", module, attribute)
    if isinstance(value, Baseline):
        return value
    function: Any = value
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

    def factory(hyperparameters, num_steps):
        return function(num_steps=num_steps, **{name: hyperparameters[name] for name in defaults})

    factory.__module__ = module  # whose source is part of what determines a curve
    space = (("learning_rate", RATES),) if "learning_rate" in defaults else ()
    return Baseline(f"{module}:{attribute}", factory, "the user's own", space, tuple(defaults.items()))


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
