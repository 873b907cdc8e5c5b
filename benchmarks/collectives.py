"""Counts the collectives of an update, in the program compiled for eight host devices.

    python benchmarks/collectives.py [--width 128] [--depth 1] [--only "VeLO, default" ...]

A transformer's tensors under three shardings: every tensor's longest axis over eight devices (FSDP), Megatron's tensor
parallelism over four devices with two replicas, and rows and columns over 2 x 4. VeLO is compiled with `shardings=` and
with the compiler's own partitioning.
"""

import argparse
import collections
import os
import sys
from pathlib import Path

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # the compiler warns of each tensor that it gathers

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding, PartitionSpec

sys.path.append(str(Path(__file__).parents[1]))  # for tests.velo.collectives

import velo
from tests.velo.collectives import collectives


def transformer(width: int, depth: int) -> dict:
    """Shapes of a language model's tensors."""
    block = {
        "qkv": {"w": (width, 3 * width), "b": (3 * width,)},
        "out": {"w": (width, width), "b": (width,)},
        "up": {"w": (width, 4 * width), "b": (4 * width,)},
        "down": {"w": (4 * width, width), "b": (width,)},
        "norms": (4, width),
    }
    return {"tokens": (1024, width), "blocks": [block] * depth, "norm": (2, width)}


def fully_sharded(path: str, shape: tuple[int, ...]) -> PartitionSpec:
    """Shards the longest axis over all devices."""
    del path
    longest = max(range(len(shape)), key=lambda axis: shape[axis])
    return PartitionSpec(*[("data", "model") if axis == longest else None for axis in range(len(shape))])


def megatron(path: str, shape: tuple[int, ...]) -> PartitionSpec:
    """Shards the columns of a pair's first matrix and the rows of its second over `model`; replicates over `data`."""
    if "qkv" in path or "up" in path:
        return PartitionSpec(*[None] * (len(shape) - 1), "model")
    return PartitionSpec("model", None) if path.endswith("w") or "tokens" in path else PartitionSpec()


def both(path: str, shape: tuple[int, ...]) -> PartitionSpec:
    """Shards rows over `data` and columns over `model`."""
    return PartitionSpec("data", "model") if len(shape) == 2 and "norm" not in path else PartitionSpec()


PLACINGS = {"FSDP, 8": fully_sharded, "tensor parallel, 4 x 2 replicas": megatron, "rows and columns, 2 x 4": both}


def placed(shapes: dict, placing, mesh) -> tuple[dict, dict]:
    """(parameters, their shardings)."""

    def one(path, shape):
        return NamedSharding(mesh, placing(jax.tree_util.keystr(path, simple=True, separator="/"), shape))

    is_shape = {"is_leaf": lambda node: isinstance(node, tuple)}
    shardings = jax.tree_util.tree_map_with_path(one, shapes, **is_shape)
    params = jax.tree.map(lambda shape: 0.1 * jax.random.normal(jax.random.key(0), shape), shapes, **is_shape)
    return jax.device_put(params, shardings), shardings


ROWS = ("Adam", "VeLO, light", "VeLO, default", "VeLO, light, compiler", "VeLO, default, compiler")


def optimizer(name: str, shardings):
    """The optimizer of a row."""
    if name == "Adam":
        return optax.adam(1e-3)
    weights = "light" if "light" in name else "default"
    return velo.optimizer(1000, weights, shardings=None if "compiler" in name else shardings)


def program(tx, params, shardings):
    """The compiled update of a run in progress: the state has the sharding that the first update gave it."""
    tx = optax.with_extra_args_support(tx)

    def update(grads, state, params, value):
        updates, state = tx.update(grads, state, params, value=value)
        return optax.apply_updates(params, updates), state

    loss = jnp.float32(1.0)
    _, state = jax.jit(update, out_shardings=(shardings, None))(params, tx.init(params), params, loss)
    placing = (shardings, jax.tree.map(lambda leaf: leaf.sharding, state))
    return jax.jit(update, donate_argnums=(1, 2), out_shardings=placing).lower(params, state, params, loss).compile()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--depth", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=ROWS, choices=ROWS, metavar="ROW")
    arguments = parser.parse_args()
    mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    shapes = transformer(arguments.width, arguments.depth)
    for label, placing in PLACINGS.items():
        params, shardings = placed(shapes, placing, mesh)
        count = sum(leaf.size for leaf in jax.tree.leaves(params))
        print(f"{label}: {count:,} parameters in {len(jax.tree.leaves(params))} tensors")
        for name in arguments.only:
            compiled = program(optimizer(name, shardings), params, shardings)
            found = collectives(compiled.as_text())
            total = collections.Counter()
            for kind, size in found:
                total[kind] += size
            kinds = ", ".join(
                f"{sum(one.kind == kind for one in found)} {kind} of {size:,} B" for kind, size in total.items()
            )
            memory = compiled.memory_analysis()
            device = memory.argument_size_in_bytes + memory.temp_size_in_bytes
            print(f"  {name:24s} {kinds or 'none'}; largest {max([0, *(one.size for one in found)]):,} B;")
            print(
                f"  {'':24s} a device holds {device:,} B, {device / count:.1f} for each of all parameters", flush=True
            )


if __name__ == "__main__":
    main()
