"""Everything that determines a meta-training run."""

import dataclasses
from typing import Literal

import optax

from meta_train.estimators import PES, FullES, TruncatedES
from meta_train.task_problem import Episodes
from tasks.mixture import get_mixture
from velo.architectures.velo import VeLO


@dataclasses.dataclass(frozen=True)
class OuterOptimizer:
    """Clip, then Adam with decoupled weight decay."""

    learning_rate: float = 0.03
    """Step of theta, whose entries are of order one."""
    clip: float = 3.0
    """Bound on the global norm of the gradient; Adam makes a scale common to all steps irrelevant."""
    b1: float = 0.9
    b2: float = 0.99
    weight_decay: float = 0.0
    average_decay: float = 0.95
    """Decay of the exponential average of theta that is exported."""

    def __post_init__(self):
        for name in ("learning_rate", "clip"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"OuterOptimizer: {name} must be positive and finite, got {getattr(self, name)}")
        if not 0 <= self.weight_decay < float("inf"):
            raise ValueError(f"OuterOptimizer: weight_decay must be at least 0, got {self.weight_decay}")
        for name in ("b1", "b2", "average_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"OuterOptimizer: {name} must be in [0, 1), got {getattr(self, name)}")

    def build(self) -> optax.GradientTransformation:
        return optax.chain(
            optax.clip_by_global_norm(self.clip),
            optax.adamw(self.learning_rate, b1=self.b1, b2=self.b2, weight_decay=self.weight_decay),
        )


@dataclasses.dataclass(frozen=True)
class Execution:
    """Where the work runs; changes nothing in the result."""

    executor: Literal["local", "ray"] = "ray"
    """`local` runs everything in this process, `ray` in `num_processes` actors."""
    num_processes: int = 2
    """Ray actors, one core each."""
    address: str | None = None
    """Ray cluster to join; none starts one on this machine."""
    checkpoint_every: int = 10
    """Outer steps between checkpoints."""
    keep_checkpoints: int = 3

    def __post_init__(self):
        for name in ("num_processes", "checkpoint_every", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise ValueError(f"Execution: {name} must be at least 1, got {getattr(self, name)}")


@dataclasses.dataclass(frozen=True)
class MetaTraining:
    """One meta-training run; `execution` and `num_steps` may change on a resume, nothing else."""

    num_steps: int = 100
    """Outer steps."""
    num_workers: int = 4
    """Logical workers: contributions averaged in an outer step, however many processes share them."""
    seed: int = 0
    mixture: str = "small"
    """Named mixture of `tasks.mixture` that architectures are sampled from."""
    family_steps: int = 1
    """Outer steps for which a worker keeps an architecture (PES needs many, full ES can change at each)."""
    family_pool: int = 0
    """Number of different architectures, sampled once and visited in random order; 0 samples afresh every time."""
    optimizer: VeLO = VeLO()
    estimator: FullES | PES | TruncatedES = FullES(standardize=True)
    episodes: Episodes = Episodes()
    outer: OuterOptimizer = OuterOptimizer()
    execution: Execution = Execution()

    def __post_init__(self):
        for name in ("num_steps", "num_workers", "family_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"MetaTraining: {name} must be at least 1, got {getattr(self, name)}")
        for name in ("seed", "family_pool"):
            if getattr(self, name) < 0:
                raise ValueError(f"MetaTraining: {name} must be at least 0, got {getattr(self, name)}")
        get_mixture(self.mixture)
        needed = self.episodes.max_steps // self.episodes.segment_steps
        if not isinstance(self.estimator, FullES) and self.family_steps < needed:
            raise ValueError(
                f"MetaTraining: with {type(self.estimator).__name__} family_steps must be at least {needed}, the "
                f"segments of the longest episode, or that never ends: got {self.family_steps}"
            )
