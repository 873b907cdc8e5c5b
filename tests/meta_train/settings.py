"""Settings of runs that compile and finish in seconds."""

import dataclasses

from meta_train.estimators import PES, FullES
from meta_train.settings import Execution, MetaTraining
from meta_train.task_problem import Episodes
from tasks.mixture import get_mixture
from velo.architectures.velo.architecture import VeLO

TINY = MetaTraining(
    num_steps=4,
    num_workers=2,
    mixture=get_mixture("small"),
    family_pool=1,
    family_steps=4,
    optimizer=VeLO(lstm_size=2, num_mixtures=1),
    estimator=PES(num_pairs=2),
    episodes=Episodes(segment_steps=3, min_steps=3, max_steps=9),
    execution=Execution(executor="local", num_processes=1, checkpoint_every=2),
)
TINY_FULL = dataclasses.replace(TINY, estimator=FullES(num_pairs=2, standardize=True))


def with_execution(settings: MetaTraining, **changes) -> MetaTraining:
    return dataclasses.replace(settings, execution=dataclasses.replace(settings.execution, **changes))
