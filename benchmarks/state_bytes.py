"""Bytes of optimizer state per parameter, by abstract evaluation: nothing is allocated.

Usage: python benchmarks/state_bytes.py
"""

import math

import jax
import jax.numpy as jnp
import optax

import velo


def linear(inputs, outputs):
    return {"w": (inputs, outputs), "b": (outputs,)}


def transformer(vocabulary, context, width, depth):
    block = {
        "attention": {"qkv": linear(width, 3 * width), "out": linear(width, width)},
        "mlp": {"in": linear(width, 4 * width), "out": linear(4 * width, width)},
        "norms": {"gain": (2, width), "bias": (2, width)},
    }
    return {"tokens": (vocabulary, width), "places": (context, width), "blocks": [block] * depth, "norm": (2, width)}


def residual_network(stages):
    """Shapes of a ResNet with two two-layer blocks per stage: convolutions, norms and the linear output."""
    layers, before = [(7, 7, 3, stages[0])], stages[0]
    for channels in stages:
        for _ in range(2):
            layers += [(3, 3, before, channels), (3, 3, channels, channels), (4, channels)]
            before = channels
    return [*layers, linear(before, 1000)]


NETWORKS = {
    "GPT-2 small": transformer(50257, 1024, 768, 12),
    "nanoGPT of characters": transformer(65, 256, 384, 6),
    "ResNet-18": residual_network((64, 128, 256, 512)),
    "MLP, 784-512-512-10": [linear(784, 512), linear(512, 512), linear(512, 10)],
    "MLP, 64-64-10": [linear(64, 64), linear(64, 10)],
}
OPTIMIZERS = {
    "Adam": optax.adam(1e-3),
    "Adam, bf16 momentum": optax.adam(1e-3, mu_dtype=jnp.bfloat16),
    "VeLO, light": velo.optimizer(1000, "light"),
    "VeLO, default": velo.optimizer(1000),
}


def main():
    print(f"{'':24s}{'parameters':>12s}", *(f"{name:>20s}" for name in OPTIMIZERS))
    for name, shapes in NETWORKS.items():
        params = jax.tree.map(
            lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32), shapes, is_leaf=lambda x: isinstance(x, tuple)
        )
        count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
        states = [jax.eval_shape(tx.init, params) for tx in OPTIMIZERS.values()]
        sizes = [sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(state)) for state in states]
        print(f"{name:24s}{count:12.2e}", *(f"{size / count:20.1f}" for size in sizes))


if __name__ == "__main__":
    main()
