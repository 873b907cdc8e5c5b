"""Meta-training on one accelerator: hundreds of lanes at a time in one process, compilation in the background.

    python benchmarks/meta_gpu.py OUT --seconds 500 [--init WEIGHTS] [--max-steps 700]

Compiling an architecture for an accelerator takes some ten seconds, as long as several outer steps on it. So two
threads compile the pool of the preset `accelerator`, each one architecture after the other, while the outer steps draw
from the architectures compiled so far. Their number depends on the machine, so a run is not bitwise reproducible.
"""

import argparse
import dataclasses
import json
import os
import shlex
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import optax

from configs.meta_training import PRESETS
from meta_train import learner, worker
from meta_train.learner import Contribution
from meta_train.programs import Programs
from velo import load_weights, save_weights

LEARNING_RATE = 0.05
WARM_UP_STEPS = 3
MIN_ARCHITECTURES = 3
AVERAGE_DECAY = 0.8
RECURRENT = ("SequenceLabeller", "RNNLanguageModel")
"""Families with loops, compiled in a separate thread so that the other families don't wait for them."""


class Pool:
    """The architectures compiled so far."""

    def __init__(self, settings):
        self.ready = []
        theta = settings.optimizer.init(jax.random.key(settings.seed))
        num_rounds = -(-settings.family_pool // settings.num_workers) + 1
        met = [worker.problem_of(settings, i, step) for step in range(num_rounds) for i in range(settings.num_workers)]
        problems = list(dict.fromkeys(met))
        for recurrent in (False, True):
            own = [problem for problem in problems if (type(problem.family).__name__ in RECURRENT) == recurrent]
            threading.Thread(target=self._compile, args=(settings, theta, own), daemon=True).start()

    def _compile(self, settings, theta, problems):
        programs = Programs(settings.estimator)
        for problem in problems:
            data, key = problem.data(), worker.worker_keys(settings, 0, 0)[1]
            started = time.perf_counter()
            try:
                executable = programs.of(problem).estimate.lower(theta, (), data, key).compile()
            except Exception as error:
                print(f"left out {problem.family}: {str(error)[:200]}", flush=True)
                continue
            self.ready.append((problem.family, executable, data))
            print(f"compiled in {time.perf_counter() - started:.0f} s: {problem.family}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=500.0)
    parser.add_argument("--num-workers", type=int, default=8, help="contributions an outer step")
    parser.add_argument("--num-pairs", type=int, default=128, help="of a contribution: twice as many lanes")
    parser.add_argument("--init", type=Path, help="weights to start from, in place of an untrained theta")
    parser.add_argument("--max-steps", type=int, default=700, help="of an episode")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    settings = PRESETS["accelerator"].settings
    estimator = dataclasses.replace(settings.estimator, num_pairs=arguments.num_pairs)
    episodes = dataclasses.replace(settings.episodes, max_steps=arguments.max_steps)
    settings = dataclasses.replace(settings, estimator=estimator, num_workers=arguments.num_workers, episodes=episodes)
    began = time.perf_counter()
    pool = Pool(settings)
    progress = {"share": 0.0, "step": 0}

    def rate():
        return (
            LEARNING_RATE
            * 0.5
            * (1 + np.cos(np.pi * progress["share"]))
            * min(1, (progress["step"] + 1) / WARM_UP_STEPS)
        )

    outer_tx = optax.inject_hyperparams(
        lambda learning_rate: optax.chain(optax.clip_by_global_norm(3.0), optax.adam(learning_rate, b2=0.95))
    )(learning_rate=LEARNING_RATE)
    untrained = settings.optimizer.init(jax.random.key(settings.seed))
    state = learner.init(outer_tx, load_weights(arguments.init)[1] if arguments.init else untrained)
    random = np.random.default_rng(settings.seed)
    order = []
    log = (arguments.out / "metrics.jsonl").open("a")
    while (elapsed := time.perf_counter() - began) < arguments.seconds:
        if len(pool.ready) < MIN_ARCHITECTURES:
            time.sleep(0.2)
            continue
        progress.update(share=elapsed / arguments.seconds, step=state.step)
        state.opt_state.hyperparams["learning_rate"] = jax.numpy.float32(rate())
        started, contributions, seconds = time.perf_counter(), [], {}
        for index in range(arguments.num_workers):
            order = order or list(random.permutation(len(pool.ready)))
            family, executable, data = pool.ready[order.pop()]
            begin = time.perf_counter()
            key = worker.worker_keys(settings, index, state.step)[1]
            estimate, _ = jax.device_get(executable(state.theta, (), data, key))
            seconds[type(family).__name__] = round(time.perf_counter() - begin, 2)
            contributions.append(
                Contribution(
                    worker=index,
                    step=state.step,
                    theta_step=state.step,
                    grad=None,
                    loss=float(estimate.loss),
                    num_nonfinite=int(estimate.num_nonfinite),
                    num_inner_steps=int(estimate.num_inner_steps),
                    seconds=time.perf_counter() - begin,
                    coefficients=estimate.coefficients,
                )
            )
        theta = state.theta
        state, metrics = learner.update(
            outer_tx, state, contributions, AVERAGE_DECAY, lambda c, theta=theta: worker.complete(settings, theta, c)
        )
        row = {
            "step": state.step,
            "elapsed": round(time.perf_counter() - began, 1),
            "num_architectures": len(pool.ready),
            "inner_steps_per_second": metrics.num_inner_steps / (time.perf_counter() - started),
            "family_seconds": seconds,
            **{name: float(value) for name, value in metrics._asdict().items() if np.ndim(value) == 0},
        }
        print(json.dumps(row), file=log, flush=True)
        print(row["step"], row["elapsed"], len(pool.ready), round(row["inner_steps_per_second"]), seconds, flush=True)
        if state.step % 10 == 0:
            save(arguments.out, settings, state)
    save(arguments.out, settings, state)
    os._exit(0)  # a thread may still be compiling


def save(out: Path, settings, state) -> None:
    for name, theta in (("weights", state.average), ("latest", state.theta)):
        record = {
            "outer_steps": state.step,
            "command": shlex.join(["python", "benchmarks/meta_gpu.py", "OUT", *sys.argv[2:]]),
        }
        save_weights(out / f"{name}.velo", settings.optimizer, theta, record, licence="Apache-2.0")


if __name__ == "__main__":
    main()
