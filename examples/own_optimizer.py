"""One's own learned optimizer, meta-trained on a Ray cluster on this machine. Usage: python own_optimizer.py [FOLDER]

The same in a shell, in the folder of this file; with --resume it goes on where it was stopped:

    velo-meta-train laptop --optimizer own_optimizer:Schedule --mixture small --out runs/own_optimizer
"""

import dataclasses
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax

import velo
from configs import meta_train_command


@dataclasses.dataclass(frozen=True)
class Schedule(velo.LearnedOptimizer):
    """Adam whose rate is a learned function of the fraction of training: theta are the logarithms at its knots."""

    num_knots: int = 5

    def init(self, key):
        return {"log_rates": jnp.full(self.num_knots, jnp.log(1e-3))}

    def bind(self, theta, num_steps):
        knots = jnp.linspace(0.0, 1.0, self.num_knots)
        return optax.with_extra_args_support(
            optax.adam(lambda step: jnp.exp(jnp.interp(step / num_steps, knots, theta["log_rates"])))
        )


WORDS = (
    "laptop --optimizer own_optimizer:Schedule --optimizer.num-knots 5 --mixture small --family-pool 4 "
    "--num-steps 40 --num-workers 4 --episodes.min-steps 200 --episodes.max-steps 200 "
    "--estimator.sigma 0.3 --outer OuterOptimizer --outer.learning-rate 0.1"
)


def main(folder="runs/own_optimizer", *words):
    if meta_train_command.main([*WORDS.split(), "--out", str(folder), *words]):
        raise SystemExit(2)
    # The weights file only names the class, and loading never imports it, so pass the class here.
    optimizer, theta = velo.load_weights(Path(folder) / "weights.velo", architecture=Schedule)
    print("learned rates along the run:", np.exp(theta["log_rates"]).round(5))
    return optimizer, theta  # weights for velo.optimizer, velo.fit and evaluation


if __name__ == "__main__":
    main(*sys.argv[1:])
