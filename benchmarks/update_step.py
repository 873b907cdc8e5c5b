"""Cost of one update: nanoseconds per parameter on one core, temporaries, and the time until the first update.

    python benchmarks/update_step.py [--parameters 1e4 1e5 1e6] [--only VeLO ...] [--json FILE]

The trees are those of a transformer with 27 tensors, at each size, and one of 500 small tensors. All rows are measured
in the same run on one core, with optimizers taking turns: VeLO (LSTM 64, bank 16) in JAX and, where it has been built,
with the kernel, its plain reference, the other architectures of the same sizes, Adam and SOAP. The times are CPU time
of the update with parameters and state donated, the minimum over repetitions; on an accelerator, wall-clock time.
"""

import argparse
import dataclasses
import json
import math
import os
import platform
import sys
import time
from pathlib import Path

from meta_train import environment

environment.apply()

import jax  # noqa: E402  (the variables have to be set first)
import jax.numpy as jnp  # noqa: E402
import optax  # noqa: E402

sys.path.append(str(Path(__file__).parents[1]))  # for the tests' plain version

import velo  # noqa: E402
from evaluation.baselines.catalogue import BASELINES  # noqa: E402
from tests.velo import reference_velo  # noqa: E402
from velo.architectures.velo import kernel  # noqa: E402

jax.config.update("jax_enable_compilation_cache", False)  # the time until the first update is measured too

NUM_STEPS = 1000
NUM_LAYERS = 2
KERNEL = ", kernel"
ARCHITECTURES = {
    "VeLO": velo.VeLO(lstm_size=64, num_mixtures=16, basis="elementwise"),
    "VeLO, eigenbasis": velo.VeLO(lstm_size=64, num_mixtures=16),
    "HyperV2": velo.HyperV2(lstm_size=64, num_mixtures=16),
    "Celo": velo.Celo(lstm_size=64, num_mixtures=16),
    "AdafacMLP": velo.AdafacMLP(),
}


def now() -> float:
    """CPU seconds on a CPU, so that other programs on the machine don't count; wall-clock seconds on an accelerator."""
    return time.process_time() if jax.default_backend() == "cpu" else time.perf_counter()


@dataclasses.dataclass(frozen=True)
class Result:
    optimizer: str
    num_parameters: int
    num_tensors: int
    nanoseconds_per_parameter: float
    temporary_bytes_per_parameter: float
    first_call_seconds: float


def optimizers() -> dict[str, optax.GradientTransformationExtraArgs]:
    thetas = {name: architecture.init(jax.random.key(0)) for name, architecture in ARCHITECTURES.items()}
    plain = reference_velo.bind(ARCHITECTURES["VeLO"], thetas["VeLO"], NUM_STEPS)
    bound = {name: bind(ARCHITECTURES[name], thetas[name], "off") for name in ARCHITECTURES}
    fast = {}
    if kernel.library_path().exists():
        names = ("VeLO", "VeLO, eigenbasis")
        fast = {name + KERNEL: bind(ARCHITECTURES[name], thetas[name], "on") for name in names}
    adam = optax.with_extra_args_support(optax.adam(1e-3))
    soap = optax.with_extra_args_support(BASELINES["soap"].bind({}, NUM_STEPS))
    return {"Adam": adam, "VeLO, plain": plain, **fast, **bound, "SOAP": soap}


def bind(architecture, theta, mode: str) -> optax.GradientTransformationExtraArgs:
    """Binds with `VELO_KERNEL` set to `mode`; the bound optimizer keeps that choice."""
    os.environ[kernel.VARIABLE] = mode
    return architecture.bind(theta, NUM_STEPS)


def transformer(num_parameters: float) -> list[tuple[int, ...]]:
    """Shapes of 27 tensors with about `num_parameters` entries in all."""
    width = max(8, 8 * round(math.sqrt(num_parameters / (12 * NUM_LAYERS + 4)) / 8))
    vectors = [(width,)] * 4 + [(4 * width,), (3 * width,), (width,), (width,)]
    layer = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width), *vectors]
    return [(4 * width, width), *layer * NUM_LAYERS, (width,), (width,)]


def many_tensors() -> list[tuple[int, ...]]:
    return [(32, 32), (32, 128), (128, 32), (32,), (128,)] * 100


def prepare(name: str, tx, shapes: list[tuple[int, ...]]):
    """(result without its time, function that does an update and returns its seconds as `now` counts them)."""
    keys = jax.random.split(jax.random.key(0), len(shapes))
    params = {
        str(index): 0.1 * jax.random.normal(key, shape)
        for index, (key, shape) in enumerate(zip(keys, shapes, strict=True))
    }
    grads = jax.tree.map(lambda leaf: leaf[::-1], params)
    state = jax.jit(tx.init)(params)

    def update(grads, state, params, value):
        updates, state = tx.update(grads, state, params, value=value)
        return optax.apply_updates(params, updates), state

    begin = now()
    compiled = jax.jit(update, donate_argnums=(1, 2)).lower(grads, state, params, jnp.float32(1.0)).compile()
    first_call = now() - begin
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    temporary = compiled.memory_analysis().temp_size_in_bytes / size
    held = [(params, state)]

    def once() -> float:
        params, state = held.pop()
        begin = now()
        held.append(jax.block_until_ready(compiled(grads, state, params, jnp.float32(1.0))))
        return now() - begin

    return Result(name, size, len(shapes), math.nan, temporary, first_call), once


def measure(shapes: list[tuple[int, ...]], repetitions: int, only: list[str]) -> list[Result]:
    prepared = [prepare(name, tx, shapes) for name, tx in optimizers().items() if name in ("Adam", *only)]
    seconds = [[once() for _, once in prepared] for _ in range(repetitions + 1)][1:]
    return [
        dataclasses.replace(result, nanoseconds_per_parameter=1e9 * min(column) / result.num_parameters)
        for (result, _), column in zip(prepared, zip(*seconds, strict=True), strict=True)
    ]


def machine() -> dict[str, str]:
    device = jax.devices()[0].device_kind
    return {"machine": platform.processor() or platform.machine(), "device": device, "jax": jax.__version__}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parameters", type=float, nargs="*", default=[1e4, 1e5, 1e6], help="sizes of the tree")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--only", nargs="*", default=[*optimizers()], metavar="ROW", help="beside Adam")
    parser.add_argument("--no-many", action="store_true", help="leaves the tree of 500 tensors out")
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments = parser.parse_args()
    results = []
    for shapes in [transformer(size) for size in arguments.parameters] + [many_tensors()] * (not arguments.no_many):
        rows = measure(shapes, arguments.repetitions, arguments.only)
        results += rows
        adam = rows[0]
        print(f"{adam.num_parameters:,} parameters in {adam.num_tensors} tensors")
        for row in rows:
            ratio = row.nanoseconds_per_parameter / adam.nanoseconds_per_parameter
            print(
                f"  {row.optimizer:24s} {row.nanoseconds_per_parameter:8.1f} ns a parameter, {ratio:5.1f} x Adam,"
                f" {row.temporary_bytes_per_parameter:6.1f} B of temporaries,"
                f" traced and compiled in {row.first_call_seconds:5.1f} s",
                flush=True,
            )
    if arguments.json:
        table = [dataclasses.asdict(row) for row in results]
        arguments.json.write_text(json.dumps({**machine(), "results": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
