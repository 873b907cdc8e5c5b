"""Named tasks and suites that evaluation reports on; none of them is in a meta-training mixture."""

import dataclasses

from tasks.families.autoencoder import Autoencoder
from tasks.families.mlp_classifier import MLPClassifier
from tasks.families.transformer_language_model import TransformerLanguageModel
from tasks.family import TaskFamily


@dataclasses.dataclass(frozen=True)
class FixedTask:
    """A family trained for a given number of steps."""

    name: str
    family: TaskFamily
    num_steps: int


def _by_name(*tasks: FixedTask) -> dict[str, FixedTask]:
    return {task.name: task for task in tasks}


TASKS = _by_name(
    FixedTask("autoencoder_digits", Autoencoder(), 500),
    FixedTask("mlp_breast_cancer", MLPClassifier(dataset="breast_cancer", widths=(64, 64), activation="tanh"), 300),
    FixedTask("transformer_python_help", TransformerLanguageModel(), 500),
)

SUITES = {
    "demo": ("autoencoder_digits", "mlp_breast_cancer", "transformer_python_help"),
}


def get_suite(name: str) -> list[FixedTask]:
    if name not in SUITES:
        raise ValueError(f"unknown suite {name!r}; known: {', '.join(sorted(SUITES))}")
    return [TASKS[task] for task in SUITES[name]]
