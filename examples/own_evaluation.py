"""One's own optimizer beside tuned baselines, with a report. Usage: python own_evaluation.py [FOLDER]

An optimizer that needs no tuning, or was tuned elsewhere, is a `velo.LearnedOptimizer`: here Lion with cosine decay at
a fixed rate. An optimizer to tune is a `Baseline` with a search space: here signed momentum, tried at eight settings.
"""

import dataclasses
import sys

import jax.numpy as jnp
import optax

import velo
from evaluation import Contender, Evaluation, LogGrid, RandomSearch, baselines, run
from evaluation.baselines import Baseline, Decay, LogUniform
from tasks.fixed import DEMO


@dataclasses.dataclass(frozen=True)
class Lion(velo.LearnedOptimizer):
    """Lion with cosine decay. Its one meta-parameter is the rate; `num_steps` is the length of the schedule."""

    def init(self, key):
        return {"learning_rate": jnp.float32(1e-3)}

    def bind(self, theta, num_steps):
        decay = optax.cosine_decay_schedule(1.0, num_steps)
        return optax.with_extra_args_support(optax.lion(lambda step: theta["learning_rate"] * decay(step)))


def signed_momentum(hyperparameters, num_steps):
    """The factory that a `Baseline` needs: an optax transformation for these hyperparameters and this many steps."""
    return optax.chain(
        optax.trace(hyperparameters["momentum"]),
        optax.scale_by_sign(),
        optax.scale_by_learning_rate(hyperparameters["learning_rate"]),
    )


SIGNED_MOMENTUM = Baseline(
    name="signed_momentum",
    factory=signed_momentum,
    paper="this example",
    space=(("learning_rate", LogUniform(1e-4, 1e-1)), ("momentum", Decay(0.5, 0.99))),
    defaults=(("learning_rate", 1e-3), ("momentum", 0.9)),
)


def main(folder="runs/own_evaluation", tasks=DEMO, **procedure):
    lion = Lion()
    contenders = (
        Contender("own_lion", lion, lion.init(None)),
        Contender("signed_momentum", SIGNED_MOMENTUM, tuner=RandomSearch(8)),
        Contender("adam", baselines.get("adam"), tuner=LogGrid(5)),  # the reference, which the others are compared with
    )
    return run(Evaluation(contenders=contenders, tasks=tasks, **procedure), folder)


if __name__ == "__main__":
    main(*sys.argv[1:], num_seeds=2)
