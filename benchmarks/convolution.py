"""Cost of a convolution in a training loop on a CPU: shifted slices and a matrix product against XLA's own.

    python benchmarks/convolution.py

Trains two layers by 20 steps of gradient descent in a scan, `lanes` networks under vmap, as in meta-training. Prints
the CPU time per step and lane, the minimum over repetitions. Both forms are measured in one run.
"""

import time

from meta_train import environment

environment.apply()

import jax  # noqa: E402  (the variables have to be set first)
import jax.numpy as jnp  # noqa: E402

from tasks.families import layers  # noqa: E402

NUM_STEPS = 20
NUM_REPETITIONS = 3
LANES = (1, 8, 32)
SIZES = ((16, 8, 3, 12, 2), (16, 8, 8, 8, 1), (16, 12, 3, 16, 1))
"""Batch, pixels per side, channels in, channels out, stride of the first layer."""


def train(conv, size, key):
    batch, pixels, inputs, outputs, stride = size
    key_first, key_second, key_images = jax.random.split(key, 3)
    images = jax.random.normal(key_images, (batch, pixels, pixels, inputs))
    params = [
        {"w": 0.1 * jax.random.normal(key_first, (3, 3, inputs, outputs)), "b": jnp.zeros(outputs)},
        {"w": 0.1 * jax.random.normal(key_second, (3, 3, outputs, outputs)), "b": jnp.zeros(outputs)},
    ]

    def loss(params):
        return jnp.mean(jnp.square(conv(params[1], jax.nn.relu(conv(params[0], images, stride)), 1)))

    def step(params, _):
        return jax.tree.map(lambda leaf, grad: leaf - 0.1 * grad, params, jax.grad(loss)(params)), None

    return jax.lax.scan(step, params, length=NUM_STEPS)[0]


def milliseconds(conv, size, lanes: int) -> float:
    keys = jax.random.split(jax.random.key(0), lanes)
    run = jax.jit(
        jax.vmap(lambda key: train(conv, size, key)) if lanes > 1 else lambda keys: train(conv, size, keys[0])
    )
    times = []
    for _ in range(NUM_REPETITIONS + 1):  # the first compiles
        start = time.process_time()
        jax.block_until_ready(run(keys))
        times.append(time.process_time() - start)
    return 1e3 * min(times[1:]) / (NUM_STEPS * lanes)


def main() -> None:
    print(
        "| lanes | batch, pixels, channels in and out, stride | slices, ms | XLA's, ms | ratio |\n|---|---|---|---|---|"
    )
    for lanes in LANES:
        for size in SIZES:
            slices, xla = (milliseconds(conv, size, lanes) for conv in (layers.conv_by_slices, layers.conv_by_xla))
            words = ", ".join(map(str, size))
            print(f"| {lanes} | {words} | {slices:.2f} | {xla:.2f} | {xla / slices:.1f} |", flush=True)


if __name__ == "__main__":
    main()
