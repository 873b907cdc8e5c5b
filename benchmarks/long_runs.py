"""Long runs of three small tasks: VeLO at 2,000, 20,000 and 200,000 steps against Adam tuned for each length.

Prints the mean training loss of the last twentieth of each run, and whether all losses and all numbers in the state are
finite. Usage: python benchmarks/long_runs.py [--lengths 2000 20000 200000] [--tasks NAME ...]
"""

import argparse
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tasks import inner_loop
from tasks.families.autoencoder import Autoencoder
from tasks.families.mlp_classifier import MLPClassifier
from tasks.families.mlp_language_model import MLPLanguageModel
from velo.transformation import resolve_weights

TASKS = {
    "classifier": MLPClassifier(dataset="shapes", widths=(32,), batch_size=32),
    "characters": MLPLanguageModel(dataset="python_source", context=4, embedding_size=8, width=48, batch_size=32),
    "autoencoder": Autoencoder(dataset="shapes", widths=(32, 12), batch_size=32),
}
RATES = tuple(10.0 ** (-exponent / 2) for exponent in (8, 7, 6, 5, 4))
"""Learning rates of Adam with cosine decay: half decades from 1e-4 to 1e-2."""
NUM_SEGMENTS = 20


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def segment(family, make, num_steps, draw, state, data, key, argument):
    """Trains a twentieth of a run; returns the state, the mean loss, and whether all losses are finite."""
    tx = make(num_steps, argument)
    state, losses = inner_loop.train(family, tx, draw, state, data, key, num_steps=num_steps // NUM_SEGMENTS)
    return state, jnp.mean(losses), jnp.all(jnp.isfinite(losses))


def run(family, make, num_steps, argument):
    """(mean loss of the last segment, whether all was finite, seconds)."""
    started = time.perf_counter()
    draw, data = family.draw(jax.random.key(0)), family.load()[0]
    state = inner_loop.start(family, make(num_steps, argument), draw, jax.random.key(1))
    finite = True
    for _ in range(NUM_SEGMENTS):
        state, loss, is_finite = segment(family, make, num_steps, draw, state, data, jax.random.key(2), argument)
        finite = finite and bool(is_finite)
    numbers = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    finite = finite and all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in numbers)
    return float(loss), finite, time.perf_counter() - started


def adam(num_steps, rate):
    return optax.with_extra_args_support(optax.adam(optax.cosine_decay_schedule(rate, num_steps)))


def learned(architecture):
    """The function `make` for an architecture; its `argument` is theta."""
    return lambda num_steps, theta: architecture.bind(theta, num_steps)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=(2000, 20_000, 200_000))
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--weights", nargs="+", default=("default", "untrained", "light"))
    options = parser.parse_args()
    optimizers = {}
    for name in options.weights:
        architecture, theta = resolve_weights(name)
        optimizers[name] = learned(architecture), theta
    for length in options.lengths:
        for task in options.tasks:
            found = [(run(TASKS[task], adam, length, jnp.float32(rate)), rate) for rate in RATES]
            (loss, finite, seconds), rate = min(found, key=lambda pair: np.nan_to_num(pair[0][0], nan=np.inf))
            print(f"{length} {task}: adam, cosine, {rate:.1e}: {loss:.5f} ({seconds:.0f} s a run)", flush=True)
            for name, (make, theta) in optimizers.items():
                own, finite, seconds = run(TASKS[task], make, length, theta)
                tail = "" if finite else ", NOT FINITE"
                print(f"{length} {task}: {name}: {own:.5f}, {own / loss:.3f} of it ({seconds:.0f} s){tail}", flush=True)


if __name__ == "__main__":
    main()
