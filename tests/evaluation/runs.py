"""Small things that the evaluation's tests run and compare."""

import dataclasses

import numpy as np
import optax

from evaluation.curves import Cost, Curve, Entry
from tasks.families.mlp_classifier import MLPClassifier
from tasks.fixed import FixedTask
from velo.learned_optimizer import LearnedOptimizer

TASK = FixedTask("tiny", MLPClassifier(dataset="breast_cancer", widths=(4,), batch_size=8), 12)
SUITE = f"{__name__}:TASK"


@dataclasses.dataclass(frozen=True)
class ScaledSGD(LearnedOptimizer):
    """A learned optimizer whose one weight is its rate."""

    def init(self, key):
        return {"rate": np.float32(0.1)}

    def bind(self, theta, num_steps):
        return optax.with_extra_args_support(optax.sgd(theta["rate"]))


own_lambda = lambda num_steps, learning_rate=0.1: optax.sgd(learning_rate)  # noqa: E731


def own_sgd(num_steps, learning_rate=0.1, nesterov=False):
    """An optimizer as a user would write it."""
    return optax.sgd(optax.linear_schedule(learning_rate, 0.0, num_steps), momentum=0.5, nesterov=nesterov)


def own_task():
    return [TASK]


def no_rule(learning_rate=0.1):
    return optax.sgd(learning_rate)


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
        cost=Cost(0.5, 0.25, 1.5, 800, 4000, 2),
        key=f"{task} {optimizer} {seed} {rate}",
    )


def entry(losses, *, optimizer="adam", is_learned=False, rates=(None,), chosen=0, task="tiny", stretched=()) -> Entry:
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
    longer = tuple(
        tuple(
            curve(row, optimizer=optimizer, seed=seed, rate=rates[chosen], task=task) for seed, row in enumerate(rows)
        )
        for rows in stretched
    )
    tuning = f"{len(rates)} rates" if len(rates) > 1 else ""
    return Entry(task, optimizer, is_learned, tuning, tuple(trials), chosen, reported, longer)
