"""Presets of evaluation."""

from configs.command_line import Preset
from evaluation.settings import Evaluation

PRESETS = {
    "demo": Preset(
        "Minutes on two cores: the demo suite against tuned baselines, two seeds.",
        Evaluation(suite="demo", num_seeds=2),
    ),
    "laptop": Preset(
        "Tens of minutes on two cores: the demo suite with five seeds.",
        Evaluation(suite="demo", num_seeds=5, num_tuning_seeds=2),
    ),
}
