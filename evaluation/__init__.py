"""Compares optimizers on fixed tasks: curves on disk, tuned baselines, scores, a report.

    from evaluation import Contender, Evaluation, LogGrid, baselines, run

`run(Evaluation(contenders=..., tasks=...), folder)` does all of it; `velo-evaluate` does the same from a terminal.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluation import baselines
    from evaluation.clock import Clock
    from evaluation.entry_point import run
    from evaluation.settings import Contender, Evaluation
    from evaluation.tuning import LogGrid, OneShot, OptunaSearch, RandomSearch

MODULES = {
    "Clock": "evaluation.clock",
    "Contender": "evaluation.settings",
    "Evaluation": "evaluation.settings",
    "LogGrid": "evaluation.tuning",
    "OneShot": "evaluation.tuning",
    "OptunaSearch": "evaluation.tuning",
    "RandomSearch": "evaluation.tuning",
    "run": "evaluation.entry_point",
}
"""Public name -> module, imported on first use: commands set the environment before JAX loads."""

__all__ = ["Clock", "Contender", "Evaluation", "LogGrid", "OneShot", "OptunaSearch", "RandomSearch", "baselines", "run"]


def __getattr__(name: str) -> Any:
    """Imports the module of a public name on first use."""
    if name == "baselines":
        return importlib.import_module("evaluation.baselines")
    if name in MODULES:
        return getattr(importlib.import_module(MODULES[name]), name)
    raise AttributeError(f"module 'evaluation' has no attribute {name!r}")
