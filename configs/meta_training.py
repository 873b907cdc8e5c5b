"""Presets of meta-training."""

import dataclasses

from configs import fields
from configs.command_line import Preset
from meta_train.estimators import FullES
from meta_train.estimators.antithetic import AntitheticEstimator
from meta_train.objectives import FinalLoss
from meta_train.outer_optimizer import OptaxChain, OuterOptimizer
from meta_train.settings import Execution, MetaTraining, Validation
from meta_train.task_problem import Episodes
from tasks.mixture import get_mixture
from velo.architectures.velo.architecture import VeLO

_CLUSTER = MetaTraining(
    num_workers=512,
    optimizer=VeLO(lstm_size=512, num_mixtures=256),
    estimator=FullES(num_pairs=8, sigma=0.01, sign=True),
    validation=Validation(every=1000, num_seeds=4, steps_scale=1.0),
    # Gradients: drawing the noise of so many parameters again would take the learner longer than an outer step.
    execution=Execution(num_processes=512, send_gradients=True, checkpoint_every=50, keep_checkpoints=10),
)
"""Settings that VeLO's four phases share (2211.09760 and its public configurations)."""


@dataclasses.dataclass(frozen=True)
class _Phase:
    """What differs between VeLO's phases."""

    min_steps: int
    max_steps: int
    accumulate_steps: int
    max_staleness: int
    family_steps: int
    mixture: str
    """Name of the mixture, which has the phase's augmentation and caps on the time of a step."""


_PHASES = (
    _Phase(100, 20_000, 4, 100, 1000, "velo_phase_1"),
    _Phase(200, 20_000, 10, 50, 1000, "velo_phase_2"),
    _Phase(200, 20_000, 20, 500, 1000, "velo_phase_3"),
    _Phase(200, 200_000, 20, 500, 200, "velo_phase_4"),
)


def _cluster(number: int) -> Preset:
    phase = _PHASES[number - 1]
    settings = dataclasses.replace(
        _CLUSTER,
        num_steps=100_000 * phase.accumulate_steps,  # 100,000 updates
        mixture=get_mixture(phase.mixture),
        family_steps=phase.family_steps,
        max_staleness=phase.max_staleness,
        start_weights=f"runs/cluster-{number - 1}/weights.velo" if number > 1 else None,
        episodes=Episodes(100, phase.min_steps, phase.max_steps, FinalLoss(num_batches=100)),
        outer=OptaxChain(("clip(3.0)", "adam(3e-4)"), accumulate_steps=phase.accumulate_steps),
    )
    before = f", from runs/cluster-{number - 1}/weights.velo" if number > 1 else ""
    return Preset(f"Weeks on a Ray cluster of 512 cores or more: VeLO's phase {number}{before}.", settings)


_LAPTOP_PARTS = ("bank", "hypernetwork/controls", "hypernetwork/elementwise", "hypernetwork/log_step")
"""An eighth of theta: the networks of the bank, and the layers that read the LSTM and the statistics. With the hundred
pairs of an outer step of `laptop`, the noise from the LSTM's own weights would exceed the gradient of these layers."""


def _adapt(settings: MetaTraining) -> MetaTraining:
    """Perturbs all of theta if another optimizer was chosen, since the preset's parts are those of VeLO."""
    if isinstance(settings.optimizer, VeLO) or not isinstance(settings.estimator, AntitheticEstimator):
        return settings
    return fields.replaced(settings, "estimator.parts", ())


PRESETS = {
    "demo": Preset(
        "Minutes on two cores: shows the meta-loss falling, not a good optimizer.",
        MetaTraining(
            num_steps=100,
            num_workers=4,
            mixture=get_mixture("small"),
            family_pool=4,  # each outer step visits all four, so that meta-losses are comparable
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
            num_steps=400,
            num_workers=12,
            mixture=get_mixture("varied"),
            family_pool=39,  # about two for each unit of the mixture's weights, whose sum is 20
            optimizer=VeLO(lstm_size=16, num_mixtures=4),
            estimator=FullES(num_pairs=8, sigma=0.2, standardize=True, parts=_LAPTOP_PARTS),
            episodes=Episodes(segment_steps=50, min_steps=150, max_steps=1000),
            outer=OptaxChain(
                ("clip_by_global_norm(3.0)", "adamw(warmup_cosine_decay_schedule(0.0, 0.03, 10, 400), b2=0.99)")
            ),
            validation=Validation(every=50),
            execution=Execution(checkpoint_every=5),
        ),
        _adapt,
    ),
    "accelerator": Preset(
        "Minutes on one GPU: 2,048 lanes an outer step in one process, 256 at a time.",
        MetaTraining(
            num_steps=60,
            num_workers=8,
            mixture=get_mixture("accelerator"),
            family_pool=16,
            optimizer=VeLO(lstm_size=16, num_mixtures=4),
            estimator=FullES(num_pairs=128, sigma=0.2, parts=_LAPTOP_PARTS),
            episodes=Episodes(segment_steps=50, min_steps=150, max_steps=700, objective=FinalLoss()),
            outer=OptaxChain(
                ("clip_by_global_norm(3.0)", "adamw(warmup_cosine_decay_schedule(0.0, 0.05, 5, 60), b2=0.95)")
            ),
            execution=Execution(executor="local", checkpoint_every=5),
        ),
        _adapt,
    ),
    **{f"cluster-{number}": _cluster(number) for number in range(1, 5)},
}
