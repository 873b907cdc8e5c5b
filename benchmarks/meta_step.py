"""Throughput of meta-training on one core, in inner steps x lanes per second, and where the time goes.

    python benchmarks/meta_step.py [--lanes 32] [--json FILE]

The named setting is the one that other implementations were measured on: PES with segments of 50 steps, an MLP 64-32-10
on 8x8 digits with batches of 64, and a VeLO with 64 LSTM units and a bank of 16. Each row removes or simplifies one
part of a step: no estimator around the inner training, then Adam or gradient descent in place of the learned optimizer.
CPU time of one process, the minimum over repetitions.
"""

import argparse
import dataclasses
import json
import os
import time
from pathlib import Path

from meta_train import environment

environment.apply()

import jax  # noqa: E402  (the variables have to be set first)
import jax.numpy as jnp  # noqa: E402
import optax  # noqa: E402

from meta_train.estimators.pes import PES  # noqa: E402
from meta_train.task_problem import Episodes, TaskProblem  # noqa: E402
from tasks import inner_loop  # noqa: E402
from tasks.families.mlp_classifier import MLPClassifier  # noqa: E402
from velo import VeLO  # noqa: E402
from velo.architectures.velo import kernel  # noqa: E402

FAMILY = MLPClassifier(dataset="digits", widths=(32,), batch_size=64)
SIZES = {"LSTM 64, bank 16": VeLO(lstm_size=64, num_mixtures=16), "LSTM 16, bank 4": VeLO(lstm_size=16, num_mixtures=4)}
SEGMENT_STEPS = 50


@dataclasses.dataclass(frozen=True)
class Result:
    name: str
    steps_per_second: float
    compile_seconds: float


def measure(name: str, function, *arguments, num_steps: int, repetitions: int = 12) -> Result:
    """Times `function(state, *rest) -> (state, out)`. `arguments` are (state, *rest); each call gets the last state."""
    begin = time.process_time()
    compiled = jax.jit(function).lower(*arguments).compile()
    compile_seconds = time.process_time() - begin
    state, *rest = arguments
    seconds = []
    for _ in range(repetitions + 1):
        begin = time.process_time()
        state, out = jax.block_until_ready(compiled(state, *rest))
        seconds.append(time.process_time() - begin)
    del out
    return Result(name, num_steps / min(seconds[1:]), compile_seconds)


def meta_training(optimizer: VeLO, lanes: int) -> Result:
    estimator = PES(num_pairs=lanes // 2)
    problem = TaskProblem(FAMILY, optimizer, Episodes(segment_steps=SEGMENT_STEPS, min_steps=100, max_steps=1000))
    theta, data = optimizer.init(jax.random.key(0)), problem.data()
    state = jax.jit(lambda theta, key: estimator.init(problem, theta, data, key))(theta, jax.random.key(1))

    def step(state, theta, data, key):
        estimate, state = estimator.estimate(problem, theta, state, data, key)
        return state, estimate

    return measure("PES", step, state, theta, data, jax.random.key(2), num_steps=lanes * SEGMENT_STEPS)


def inner_training(name: str, bind, thetas, lanes: int, data) -> Result:
    """The same lanes, each with its own entry of `thetas`, without an estimator."""
    draw = FAMILY.draw(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), lanes)
    states = jax.vmap(lambda theta, key: inner_loop.start(FAMILY, bind(theta), draw, key))(thetas, keys)

    def step(states, thetas, data, key):
        def one(theta, state):
            return inner_loop.train(FAMILY, bind(theta), draw, state, data, key, num_steps=SEGMENT_STEPS)

        return jax.vmap(one)(thetas, states)

    return measure(name, step, states, thetas, data, jax.random.key(2), num_steps=lanes * SEGMENT_STEPS)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lanes", type=int, default=32, help="perturbed copies trained at once; two are a pair")
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments = parser.parse_args()
    data, _ = FAMILY.load()
    data = jax.device_put(data)
    results = {}
    for size, optimizer in SIZES.items():
        theta = optimizer.init(jax.random.key(0))
        thetas = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[None], (arguments.lanes, *leaf.shape)), theta)
        none = jnp.zeros(arguments.lanes)
        rows = [meta_training(optimizer, arguments.lanes)]
        if kernel.library_path().exists():
            os.environ[kernel.VARIABLE] = "on"
            rows.append(dataclasses.replace(meta_training(optimizer, arguments.lanes), name="PES with the kernel"))
            os.environ[kernel.VARIABLE] = "off"
        rows += [
            inner_training(
                "without the estimator", lambda t, o=optimizer: o.bind(t, 500), thetas, arguments.lanes, data
            ),
            inner_training("Adam instead", lambda _: optax.adam(1e-3), none, arguments.lanes, data),
            inner_training("gradient descent instead", lambda _: optax.sgd(1e-2), none, arguments.lanes, data),
        ]
        results[size] = [dataclasses.asdict(row) for row in rows]
        print(f"{size}, {arguments.lanes} lanes")
        for row in rows:
            print(f"  {row.name:26s} {row.steps_per_second:8.0f} inner steps x lanes a CPU-second"
                  f"   compiled in {row.compile_seconds:.1f} CPU-s", flush=True)  # fmt: skip
    if arguments.json:
        arguments.json.write_text(json.dumps({"lanes": arguments.lanes, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
