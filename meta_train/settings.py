"""Everything that determines a meta-training run.

Optimizer, mixtures and suite are values, bundled or one's own:

    settings = MetaTraining(optimizer=MyOptimizer(), mixture=TaskMixture(((MyFamily, 1.0),)), num_steps=200)
    weights = run(settings, Path("runs/mine"))  # meta_train.run
    optimizer, theta = velo.load_weights(weights, architecture=MyOptimizer)
"""

import dataclasses
from typing import Literal

import jax

from meta_train.curriculum import Curriculum
from meta_train.estimators import NRES, PES, FullBackprop, FullES, TruncatedBackprop, TruncatedES
from meta_train.estimators.antithetic import AntitheticEstimator
from meta_train.outer_optimizer import OptaxChain, OuterOptimizer
from meta_train.task_problem import Episodes
from tasks.fixed import META_VALID, FixedTask, Suite
from tasks.mixture import Mixture, get_mixture
from velo.architectures.velo.architecture import VeLO
from velo.learned_optimizer import LearnedOptimizer


@dataclasses.dataclass(frozen=True)
class Imitation:
    """Fits theta to the updates of tuned optimizers, by backpropagation, before the first outer step."""

    num_steps: int = 0
    """Steps of the fit; 0 for none."""
    num_tasks: int = 8
    """Architectures of the mixture on which optimizers are tuned and imitated."""
    inner_steps: int = 200
    """Length of the runs that are imitated."""
    segment_steps: int = 20
    """Inner steps that are backpropagated through."""
    learning_rate: float = 1e-3

    def __post_init__(self):
        if self.num_steps < 0:
            raise ValueError(f"Imitation: num_steps must be at least 0, got {self.num_steps}")
        if self.num_tasks < 1:
            raise ValueError(f"Imitation: num_tasks must be at least 1, got {self.num_tasks}")
        if not 1 <= self.segment_steps <= self.inner_steps or self.inner_steps % self.segment_steps:
            raise ValueError(
                "Imitation: inner_steps must be a multiple of segment_steps, got "
                f"{self.inner_steps} and {self.segment_steps}"
            )
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"Imitation: learning_rate must be positive and finite, got {self.learning_rate}")


@dataclasses.dataclass(frozen=True)
class Validation:
    """How the averaged theta is evaluated during the run; the best so far is exported to a file of its own."""

    every: int = 0
    """Outer steps between two validations; 0 for none."""
    suite: Suite = Suite("meta_valid", META_VALID)
    """Tasks: a suite of `tasks.fixed` or one's own. Results on this suite are then no longer on unseen tasks."""
    num_seeds: int = 2
    """Runs of each task, in one compiled program."""
    steps_scale: float = 0.2
    """Length of a run, as a fraction of the task's own."""
    num_batches: int = 16
    """Fresh batches of the validation split on which a final loss is estimated."""

    def __post_init__(self):
        if self.every < 0:
            raise ValueError(f"Validation: every must be at least 0, got {self.every}")
        for name in ("num_seeds", "num_batches"):
            if getattr(self, name) < 1:
                raise ValueError(f"Validation: {name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.steps_scale <= 1:
            raise ValueError(f"Validation: steps_scale must be in (0, 1], got {self.steps_scale}")
        if not isinstance(self.suite, Suite):
            raise ValueError(f"Validation: suite must be a tasks.fixed.Suite, got {self.suite!r}")

    def task(self, name: str) -> FixedTask:
        """The suite's task of that name."""
        return next(task for task in self.suite.tasks if task.name == name)


@dataclasses.dataclass(frozen=True)
class Execution:
    """Where the contributions are computed. The result of a synchronous run doesn't depend on it."""

    executor: Literal["local", "ray"] = "ray"
    """`local` runs everything in this process, `ray` in up to `num_processes` others."""
    num_processes: int = 2
    """Ray worker processes to ask for; as many start as the cluster has room for, the others later, when nodes join."""
    address: str | None = None
    """Ray cluster to join, such as `auto` or `ray://head:10001`; none starts a cluster on this machine."""
    cpus_per_process: float = 1.0
    """Cores that Ray reserves for a worker process."""
    gpus_per_process: float = 0.0
    """GPUs, or a share of one, for a worker process."""
    deadline_seconds: float = 1800.0
    """Seconds for one contribution, compilation included, after which a worker process is replaced."""
    max_attempts: int = 10
    """A task is set aside after so many worker processes died computing it, or after two missed deadlines."""
    max_restarts: int = 100
    """Worker processes in a row that may fail to start before the run gives up."""
    send_gradients: bool = False
    """Send gradients even where the learner could rebuild them from seeds: more bytes, less work for the learner."""
    checkpoint_every: int = 10
    """Outer steps between checkpoints."""
    keep_checkpoints: int = 3
    """Checkpoints that are kept; older ones are deleted."""
    mirror: str | None = None
    """fsspec URL to copy checkpoints to, such as s3://bucket/run; a resume on another machine reads them there."""

    def __post_init__(self):
        for name in ("num_processes", "checkpoint_every", "keep_checkpoints", "max_attempts", "max_restarts"):
            if getattr(self, name) < 1:
                raise ValueError(f"Execution: {name} must be at least 1, got {getattr(self, name)}")
        for name in ("cpus_per_process", "gpus_per_process"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"Execution: {name} must be at least 0 and finite, got {getattr(self, name)}")
        if not self.deadline_seconds > 0:
            raise ValueError(f"Execution: deadline_seconds must be positive, got {self.deadline_seconds}")


@dataclasses.dataclass(frozen=True)
class MetaTraining:
    """One meta-training run. A resume may change `execution`, `num_steps`, `validation` and `start_weights` only."""

    num_steps: int = 100
    """Outer steps."""
    num_workers: int = 4
    """Logical workers: contributions averaged in an outer step, whatever the number of processes."""
    seed: int = 0
    """All randomness of the run follows from it."""
    mixture: Mixture = get_mixture("small")
    """What architectures are sampled from: a mixture of `tasks.mixture` or one's own."""
    family_steps: int = 1
    """Outer steps for which a worker keeps an architecture (PES needs many, full ES can change at each)."""
    family_pool: int = 0
    """Number of different architectures, sampled once, evenly over the mixture's families, and visited in random order;
    0 samples new ones every time."""
    max_staleness: int = 0
    """Updates of theta that a contribution may be behind. With 0, an outer step waits for every worker, and the result
    is the same to the bit on any number of processes. Otherwise it takes the first `num_workers` that arrive."""
    start_weights: str | None = None
    """Weights file whose theta the run starts from; none starts untrained."""
    optimizer: LearnedOptimizer = VeLO()
    """What is meta-trained: an architecture of `velo`, or a class of one's own."""
    estimator: FullES | PES | NRES | TruncatedES | FullBackprop | TruncatedBackprop = FullES(standardize=True)
    episodes: Episodes = Episodes()
    curriculum: Curriculum = Curriculum()
    outer: OuterOptimizer | OptaxChain = OuterOptimizer()
    imitation: Imitation = Imitation()
    validation: Validation = Validation()
    execution: Execution = Execution()

    def __post_init__(self):
        for name in ("num_steps", "num_workers", "family_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"MetaTraining: {name} must be at least 1, got {getattr(self, name)}")
        for name in ("seed", "family_pool", "max_staleness"):
            if getattr(self, name) < 0:
                raise ValueError(f"MetaTraining: {name} must be at least 0, got {getattr(self, name)}")
        if not isinstance(self.mixture, Mixture):
            known = "a tasks.mixture.Mixture, such as get_mixture('small')"
            raise ValueError(f"MetaTraining: mixture must be {known}, got {self.mixture!r}")
        if not isinstance(self.optimizer, LearnedOptimizer):
            raise ValueError(f"MetaTraining: optimizer must be a velo.LearnedOptimizer, got {self.optimizer!r}")
        if isinstance(self.estimator, AntitheticEstimator) and self.estimator.parts:
            self.estimator.perturbed(jax.eval_shape(lambda: self.optimizer.init(jax.random.key(0))))
        needed = self.episodes.max_steps // self.episodes.segment_steps
        if self.estimator.persistent and self.family_steps < needed:
            raise ValueError(
                f"MetaTraining: with {type(self.estimator).__name__} family_steps must be at least {needed}, the "
                f"segments of the longest episode, or that never ends: got {self.family_steps}"
            )
