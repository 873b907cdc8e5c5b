"""Small things that the evaluation's tests run and compare."""

import dataclasses

import numpy as np
import optax

from evaluation.curve import Curve
from evaluation.results import Entry
from tasks.families.mlp_classifier import MLPClassifier
from tasks.fixed import FixedTask
from velo.learned_optimizer import LearnedOptimizer

TASK = FixedTask("tiny", MLPClassifier(dataset="breast_cancer", widths=(4,), batch_size=8), 12)


@dataclasses.dataclass(frozen=True)
class ScaledSGD(LearnedOptimizer):
    """A learned optimizer whose one weight is its rate."""

    def init(self, key):
        return {"rate": np.float32(0.1)}

    def bind(self, theta, num_steps):
        return optax.with_extra_args_support(optax.sgd(theta["rate"]))


def curve(losses, *, optimizer="adam", seed=0, rate=None, task="tiny") -> Curve:
    losses = np.asarray(losses, np.float32)
    return Curve(
        task=task,
        optimizer=optimizer,
        hyperparameters=() if rate is None else (("learning_rate", rate),),
        seed=seed,
        train_loss=losses,
        valid_steps=np.array([len(losses)]),
        valid_loss=losses[-1:],
        seconds=0.5,
        compile_seconds=1.5,
        num_lanes=2,
    )


def entry(losses, *, optimizer="adam", is_learned=False, rates=(None,), chosen=0, task="tiny") -> Entry:
    """The same `losses` [seeds, steps] on tuning and reporting seeds, at every rate."""
    trials = [
        tuple(
            curve(row, optimizer=optimizer, seed=10_000 + seed, rate=rate, task=task) for seed, row in enumerate(losses)
        )
        for rate in rates
    ]
    reported = tuple(
        curve(row, optimizer=optimizer, seed=seed, rate=rates[chosen], task=task) for seed, row in enumerate(losses)
    )
    return Entry(task, optimizer, is_learned, tuple(trials), chosen, reported)
