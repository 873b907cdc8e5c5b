"""A language model of ten million parameters or more: VeLO against Adam at its usual rates, with memory and donation.

    python benchmarks/large_run.py [--num-steps 150] [--width 384] [--depth 6] [--only "Adam, 1e-3" "VeLO, default"]

A transformer on the bundled Python sources. All optimizers start from the same parameters and see the same batches.
Each trains in a separate process, so that peak memory is measured for it alone. Parameters and state are donated: a
buffer that can't be reused is an error.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import time
import warnings

from meta_train import environment

environment.apply()

import jax  # noqa: E402  (the variables have to be set first)
import numpy as np  # noqa: E402
import optax  # noqa: E402

import velo  # noqa: E402
from tasks.data import load  # noqa: E402
from tasks.families.transformer_language_model import TransformerLanguageModel  # noqa: E402

NUM_VALIDATION_BATCHES = 8
OPTIMIZERS = {
    "Adam, 1e-4": lambda num_steps: optax.with_extra_args_support(optax.adam(1e-4)),
    "Adam, 1e-3": lambda num_steps: optax.with_extra_args_support(optax.adam(1e-3)),
    "Adam, 3e-4": lambda num_steps: optax.with_extra_args_support(optax.adam(3e-4)),
    "VeLO, default": lambda num_steps: velo.optimizer(num_steps),
    "VeLO, light": lambda num_steps: velo.optimizer(num_steps, "light"),
}


def train(name: str, family: TransformerLanguageModel, num_steps: int) -> dict:
    """Results of one optimizer's run; losses in nats per token, sizes in bytes, times in seconds."""
    warnings.filterwarnings("error", message="Some donated buffers were not usable")
    train_data, valid_data = load(family.dataset)
    key_draw, key_init, key_train, key_valid = jax.random.split(jax.random.key(0), 4)
    draw = family.draw(key_draw).undisturbed()
    tx = OPTIMIZERS[name](num_steps)
    params = jax.jit(lambda key: family.init(draw, key))(key_init)
    state = jax.jit(tx.init)(params)
    held = sum(leaf.nbytes for leaf in jax.tree.leaves((params, state)))
    count = sum(leaf.size for leaf in jax.tree.leaves(params))

    def loss_fn(params, data, key):
        return family.loss(draw, params, family.batch(data, key), key)

    def step(params, state, data, key):
        loss, grads = jax.value_and_grad(loss_fn)(params, data, key)
        updates, state = tx.update(grads, state, params, value=loss)
        return optax.apply_updates(params, updates), state, loss

    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(params, state, train_data, key_train).compile()
    memory = compiled.memory_analysis()
    losses, begin, clock = [], time.process_time(), time.perf_counter()
    for number in range(num_steps):
        params, state, loss = compiled(params, state, train_data, jax.random.fold_in(key_train, number))
        losses.append(float(loss))
    seconds, clock_seconds = time.process_time() - begin, time.perf_counter() - clock
    evaluate = jax.jit(loss_fn)
    keys = jax.random.split(key_valid, NUM_VALIDATION_BATCHES)
    return {
        "optimizer": name,
        "num_parameters": count,
        "losses": losses,
        "valid_loss": float(np.mean([evaluate(params, valid_data, key) for key in keys])),
        "seconds_per_step": seconds / num_steps,
        "clock_seconds_per_step": clock_seconds / num_steps,
        "held": held,
        "donated": memory.alias_size_in_bytes,
        "temporary": memory.temp_size_in_bytes,
        "peak": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


def describe(result: dict) -> str:
    losses = result["losses"]
    places = sorted({min(len(losses), place) for place in (1, 10, 25, 50, 100, 150, 200, 300, 400, 500)})
    at = ", ".join(f"{place}: {np.mean(losses[max(0, place - 5) : place]):.3f}" for place in places)
    count = result["num_parameters"]
    return (
        f"{result['optimizer']:14s} {count:,} parameters, {result['seconds_per_step']:.2f} CPU-s and "
        f"{result['clock_seconds_per_step']:.3f} s by the clock a step\n"
        f"  training loss, mean of five steps up to step {at}\n"
        f"  validation loss {result['valid_loss']:.3f}\n"
        f"  parameters and state {result['held'] / count:.1f} B a parameter, of which donated and reused "
        f"{result['donated'] / result['held']:.1%}; temporaries {result['temporary'] / count:.1f} B; "
        f"peak of the process {result['peak'] / 2**20:.0f} MiB"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-steps", type=int, default=150)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--only", nargs="*", default=[*OPTIMIZERS], choices=OPTIMIZERS, metavar="OPTIMIZER")
    parser.add_argument("--json", action="store_true", help="trains the first of --only in this process, prints JSON")
    arguments = parser.parse_args()
    if arguments.json:
        family = TransformerLanguageModel(
            "python_source",
            arguments.context,
            arguments.width,
            num_heads=math.ceil(arguments.width / 64),
            depth=arguments.depth,
            batch_size=arguments.batch_size,
        )
        print(json.dumps(train(arguments.only[0], family, arguments.num_steps)))
        return
    sizes = [(f"--{name.replace('_', '-')}", getattr(arguments, name)) for name in ("num_steps", "width", "depth")]
    sizes += [("--context", arguments.context), ("--batch-size", arguments.batch_size)]
    options = [str(part) for size in sizes for part in size]
    for name in arguments.only:
        command = [sys.executable, __file__, "--json", "--only", name, *options]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        print(describe(json.loads(done.stdout.splitlines()[-1])), flush=True)


if __name__ == "__main__":
    main()
