"""Wall-clock time of a whole training step, gradient and update, relative to Adam's.

    python benchmarks/training_step.py [--tasks NAME ...] [--repetitions 5]

Measured on one core in scans of 200 steps, with optimizers taking turns on each task; the minimum over repetitions.
"""

import argparse
import time

from meta_train import environment

environment.apply()

import jax  # noqa: E402  (the variables have to be set first)
import jax.numpy as jnp  # noqa: E402
import optax  # noqa: E402

from evaluation.baselines.catalogue import BASELINES  # noqa: E402
from tasks import inner_loop  # noqa: E402
from tasks.fixed import TASKS  # noqa: E402
from velo.transformation import resolve_weights  # noqa: E402

NUM_STEPS = 200
DEFAULT_TASKS = ("transformer_source", "vit_china", "resnet_china", "deep_mlp_china", "autoencoder_china")


def optimizers():
    adam = optax.with_extra_args_support(optax.adam(1e-3))
    soap = optax.with_extra_args_support(BASELINES["soap"].bind({}, NUM_STEPS))
    learned = {}
    for name, weights in (("VeLO", "default"), ("VeLO, light", "light")):
        architecture, theta = resolve_weights(weights)
        learned[name] = architecture.bind(theta, NUM_STEPS)
    return {"Adam": adam, **learned, "SOAP": soap}


def program(family, tx, data):
    draw = family.draw(jax.random.key(0))
    state = inner_loop.start(family, tx, draw, jax.random.key(1))

    @jax.jit
    def run(state, data):
        return inner_loop.train(family, tx, draw, state, data, jax.random.key(2), num_steps=NUM_STEPS)

    jax.block_until_ready(run(state, data))
    return lambda: jax.block_until_ready(run(state, data))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=DEFAULT_TASKS)
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    for name in arguments.tasks:
        family = TASKS[name].family
        data = jax.tree.map(jnp.asarray, family.load()[0])
        programs = {label: program(family, tx, data) for label, tx in optimizers().items()}
        best = dict.fromkeys(programs, float("inf"))
        for _ in range(arguments.repetitions):
            for label, run in programs.items():
                begin = time.perf_counter()
                run()
                best[label] = min(best[label], (time.perf_counter() - begin) / NUM_STEPS)
        adam = best["Adam"]
        cells = "  ".join(f"{label} {1e3 * best[label]:.2f} ms ({best[label] / adam:.2f})" for label in best)
        print(f"{name:22} {cells}", flush=True)


if __name__ == "__main__":
    main()
