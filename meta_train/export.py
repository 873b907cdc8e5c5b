"""The weights files of a run: the current averaged theta, and the best so far on the validation tasks."""

from pathlib import Path
from typing import Any

import velo
from meta_train import learner, run_folder
from meta_train.settings import MetaTraining

BEST_FILE = "best.velo"


def record(settings: MetaTraining, state: learner.LearnerState) -> dict[str, Any]:
    """The record of a weights file: the number of outer steps, and the settings except `execution`."""
    described = run_folder.describe(settings)
    return {"outer_steps": state.step, "settings": {k: v for k, v in described.items() if k != "execution"}}


def export(settings: MetaTraining, state: learner.LearnerState, out: Path) -> Path:
    """Writes the averaged theta as a weights file with its record."""
    path = out / run_folder.WEIGHTS_FILE
    velo.save_weights(path, settings.optimizer, state.average, record(settings, state))
    return path


def best_loss(settings: MetaTraining, out: Path) -> float:
    """Validation loss of the best weights so far; infinite if there are none, or if the validation has changed."""
    path = out / BEST_FILE
    if not path.exists():
        return float("inf")
    found = velo.weights_info(path).record.get("validation", {})
    return found["loss"] if found.get("settings") == run_folder.describe(settings.validation) else float("inf")


def export_if_best(
    settings: MetaTraining, state: learner.LearnerState, out: Path, loss: float, tasks: dict[str, float]
) -> bool:
    """Writes the averaged theta with its validation loss to `best.velo` if it is the best so far; returns whether."""
    if not loss < best_loss(settings, out):
        return False
    judged = {"loss": loss, "tasks": tasks, "settings": run_folder.describe(settings.validation)}
    velo.save_weights(
        out / BEST_FILE, settings.optimizer, state.average, record(settings, state) | {"validation": judged}
    )
    return True
