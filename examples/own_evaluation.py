"""One's own optimizer beside tuned baselines, with a report. Usage: python own_evaluation.py [FOLDER]"""

import dataclasses
import sys
from pathlib import Path

import jax.numpy as jnp
import optax

import velo
from evaluation.entry_point import evaluate
from evaluation.settings import Evaluation


@dataclasses.dataclass(frozen=True)
class Lion(velo.LearnedOptimizer):
    """Any optax optimizer that needs no tuning, or has been tuned elsewhere: here Lion with cosine decay."""

    def init(self, key):
        return {"learning_rate": jnp.float32(1e-3)}

    def bind(self, theta, num_steps):
        decay = optax.cosine_decay_schedule(1.0, num_steps)
        return optax.with_extra_args_support(optax.lion(lambda step: theta["learning_rate"] * decay(step)))


def main(folder="runs/own_evaluation", suite="demo", **settings):
    lion = Lion()
    settings = Evaluation(suite=suite, **settings)
    return evaluate(settings, {"own_lion": (lion, lion.init(None))}, Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:], num_seeds=2, num_rates=5)
