"""How warm-up, clipping and limits affect VeLO's distance estimate, on one small task.

Prints the estimate after a tenth and at the end of the run, and the validation loss, as means of two seeds, and each
seed's loss. One compiled program serves all variants.
Usage: python benchmarks/distance.py [TASK [WEIGHTS]]
"""

import functools
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import velo
from tasks import fixed, inner_loop

SEEDS = (0, 1)
NUM_VALID_BATCHES = 30
FREE = 1e9


class Variant(NamedTuple):
    initial_distance: float = 3e-4  # that of the architecture
    max_distance: float = FREE
    max_norm: float = FREE  # of the gradient, clipped before VeLO
    warm_up: float = 0.0  # share of the run over which step_scale rises from zero


VARIANTS = {
    "as it is": Variant(),
    **{f"warm-up over {share:.0%}": Variant(warm_up=share) for share in (0.02, 0.1)},
    **{f"clipped to norm {norm:g}": Variant(max_norm=norm) for norm in (10.0, 1.0, 0.1)},
    **{f"initial_distance {distance:g}": Variant(distance) for distance in (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)},
    **{f"max_distance {distance:g}": Variant(max_distance=distance) for distance in (1e-3, 3e-3, 1e-2, 3e-2)},
}


def with_initial_distance(state, distance):
    """The optimizer's initial state with another initial estimate."""
    return jax.tree.map(
        lambda node: node._replace(estimate=distance, per_tensor=jnp.full_like(node.per_tensor, distance)),
        state,
        is_leaf=lambda node: hasattr(node, "numerator"),
    )


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def run(family, weights, num_steps, variant, seed, train, valid):
    def scale(step):
        return jnp.minimum(1.0, (step + 1.0) / jnp.maximum(variant.warm_up * num_steps, 1.0))

    learned = velo.optimizer(num_steps, weights, step_scale=scale, max_distance=variant.max_distance)
    tx = optax.chain(optax.clip_by_global_norm(variant.max_norm), learned)
    draw = family.draw(jax.random.key(seed))
    state = inner_loop.start(family, tx, draw, jax.random.key(seed))
    clipping, scaled = state.opt_state
    distance = with_initial_distance(scaled.learned.distance, variant.initial_distance)
    scaled = scaled._replace(learned=scaled.learned._replace(distance=distance))
    state = state._replace(opt_state=(clipping, scaled))

    def segment(state, _):
        state, _ = inner_loop.train(
            family, tx, draw, state, train, jax.random.key(seed + 100), num_steps=num_steps // 10
        )
        return state, state.opt_state[1].learned.distance.estimate

    state, estimates = jax.lax.scan(segment, state, length=10)
    key = jax.random.key(7)
    loss = inner_loop.mean_loss(family, draw, state.params, valid, key, num_batches=NUM_VALID_BATCHES)
    return jnp.stack([estimates[0], estimates[-1], loss])


def main(name="mlp_flower", weights="default"):
    task = fixed.TASKS[name]
    train, valid = task.family.load()
    for label, variant in VARIANTS.items():
        arguments = Variant(*map(jnp.float32, variant))
        results = [
            run(task.family, weights, task.num_steps, arguments, jnp.int32(seed), train, valid) for seed in SEEDS
        ]
        early, late, loss = np.mean(results, axis=0)
        print(f"{label:26s} estimate {early:.2e} {late:.2e}  loss {loss:.4f}", np.array(results)[:, 2], flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
