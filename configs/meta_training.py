"""Presets of meta-training."""

from configs.command_line import Preset
from meta_train.estimators import FullES
from meta_train.settings import Execution, MetaTraining, OuterOptimizer
from meta_train.task_problem import Episodes
from velo.architectures.velo import VeLO

PRESETS = {
    "demo": Preset(
        "Minutes on two cores: shows the meta-loss falling, not a good optimizer.",
        MetaTraining(
            num_steps=100,
            num_workers=4,
            mixture="small",
            family_pool=4,  # each outer step visits all four, so that its meta-loss compares with the others'
            optimizer=VeLO(lstm_size=8, num_mixtures=2),
            estimator=FullES(num_pairs=8, sigma=0.2, standardize=True),
            episodes=Episodes(segment_steps=50, min_steps=200, max_steps=200),
            outer=OuterOptimizer(learning_rate=0.05),
            execution=Execution(checkpoint_every=10),
        ),
    ),
    "laptop": Preset(
        "Hours on two cores.",
        MetaTraining(
            num_steps=1000,
            num_workers=6,
            mixture="broad",
            family_pool=30,
            optimizer=VeLO(lstm_size=16, num_mixtures=4),
            estimator=FullES(num_pairs=16, sigma=0.2, standardize=True),
            episodes=Episodes(segment_steps=50, min_steps=100, max_steps=800),
            outer=OuterOptimizer(learning_rate=0.03),
            execution=Execution(checkpoint_every=5),
        ),
    ),
}
