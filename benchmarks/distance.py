"""Whether warm-up and clipping upset VeLO's estimate of the distance, and what its limits do, on one small task.

Prints the estimate after a tenth and at the end of the run, and the validation loss. Usage: python
benchmarks/distance.py [TASK]
"""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax

import velo
from tasks import fixed, inner_loop

SEEDS = (0, 1)
NUM_VALID_BATCHES = 30


def warm_up(num_steps, share):
    return lambda step: jnp.minimum(1.0, (step + 1.0) / (share * num_steps))


def variants(num_steps):
    def make(**options):
        return velo.optimizer(num_steps, **options)

    found = {
        "as it is": make(),
        "warm-up over 2 %": make(step_scale=warm_up(num_steps, 0.02)),
        "warm-up over 10 %": make(step_scale=warm_up(num_steps, 0.1)),
    }
    for norm in (10.0, 1.0, 0.1):
        found[f"clipped to norm {norm:g}"] = optax.chain(optax.clip_by_global_norm(norm), make())
    for distance in (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1):
        found[f"initial_distance {distance:g}"] = make(initial_distance=distance)
    for distance in (3e-3, 1e-2, 3e-2, 1e-1):
        found[f"max_distance {distance:g}"] = make(max_distance=distance)
    return found


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def run(family, tx, num_steps, seed, train, valid):
    draw = family.draw(jax.random.key(seed))
    state = inner_loop.start(family, tx, draw, jax.random.key(seed))
    estimates = []
    for segment in (num_steps // 10, num_steps - num_steps // 10):
        state, _ = inner_loop.train(family, tx, draw, state, train, jax.random.key(seed + 100), num_steps=segment)
        estimates.append(optax.tree.get(state.opt_state, "estimate"))
    key = jax.random.key(7)
    loss = inner_loop.mean_loss(family, draw, state.params, valid, key, num_batches=NUM_VALID_BATCHES)
    return jnp.stack([*estimates, loss])


def main(name="mlp_flower"):
    task = fixed.TASKS[name]
    train, valid = task.family.load()
    for variant, tx in variants(task.num_steps).items():
        results = [run(task.family, tx, task.num_steps, jnp.int32(seed), train, valid) for seed in SEEDS]
        early, late, loss = np.mean(results, axis=0)
        print(f"{variant:26s} estimate {early:.2e} {late:.2e}  loss {loss:.4f}", *np.array(results)[:, 2], flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
