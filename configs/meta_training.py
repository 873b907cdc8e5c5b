"""Presets of meta-training."""

from configs.command_line import Preset
from meta_train.settings import Execution, MetaTraining
from meta_train.task_problem import Episodes

PRESETS = {
    "demo": Preset(
        "Minutes on two cores: shows the meta-loss falling, not a good optimizer.",
        MetaTraining(num_steps=30, episodes=Episodes(min_steps=50, max_steps=400)),
    ),
    "laptop": Preset(
        "Hours on two cores.",
        MetaTraining(num_steps=1000, execution=Execution(checkpoint_every=20)),
    ),
}
