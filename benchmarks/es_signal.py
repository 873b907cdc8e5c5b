"""How much of an antithetic pair's difference comes from theta, and how much from chaos, by sigma.

Each perturbation is tried on several independent episodes. The correlation of the differences between episodes is the
share of their variance that the perturbation explains; the rest is noise that evolution strategies have to average
away. Usage: python benchmarks/es_signal.py [num_pairs]
"""

import sys

from meta_train import environment

environment.apply()

import jax  # noqa: E402, environment variables must be set before JAX is imported
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax.flatten_util import ravel_pytree  # noqa: E402

from configs.meta_training import PRESETS  # noqa: E402
from meta_train.task_problem import TaskProblem  # noqa: E402
from tasks.families.mlp_classifier import MLPClassifier  # noqa: E402
from tasks.families.mlp_language_model import MLPLanguageModel  # noqa: E402

SIGMAS = (0.05, 0.1, 0.2, 0.4)
NUM_EPISODES = 4
NUM_SEGMENTS = 6
FAMILIES = (MLPClassifier(widths=(16,), batch_size=16), MLPLanguageModel(batch_size=16, width=16))


def differences(problem: TaskProblem, num_pairs: int) -> np.ndarray:
    """L(theta + sigma e) - L(theta - sigma e), shape (sigmas, episodes, pairs)."""
    flat, unravel = ravel_pytree(problem.optimizer.init(jax.random.key(0)))
    data = problem.data()

    @jax.jit
    @jax.vmap
    def meta_loss(theta, key):
        carry, total = problem.reset(unravel(theta), key, jnp.asarray(NUM_SEGMENTS)), jnp.zeros(())

        def advance(_, loop):
            carry, total = loop
            carry, segment = problem.advance(unravel(theta), carry, data)
            return carry, total + segment.loss

        return jax.lax.fori_loop(0, NUM_SEGMENTS, advance, (carry, total))[1]

    noise = jax.random.normal(jax.random.key(1), (num_pairs, flat.size))
    found = np.zeros((len(SIGMAS), NUM_EPISODES, num_pairs))
    for i, sigma in enumerate(SIGMAS):
        for episode in range(NUM_EPISODES):
            keys = jax.random.split(jax.random.key(100 + episode), num_pairs)
            found[i, episode] = meta_loss(flat[None] + sigma * noise, keys) - meta_loss(
                flat[None] - sigma * noise, keys
            )
    return found


def main() -> None:
    num_pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 24
    settings = PRESETS["laptop"].settings
    for family in FAMILIES:
        found = differences(TaskProblem(family, settings.optimizer, settings.episodes), num_pairs)
        for sigma, episodes in zip(SIGMAS, found, strict=True):
            correlations = np.corrcoef(episodes)[np.triu_indices(NUM_EPISODES, 1)]
            size = np.sqrt(np.mean(np.square(episodes)))
            name = type(family).__name__
            print(f"{name:20s} sigma {sigma:<5} difference {size:.4f}  explained by theta {correlations.mean():.2f}")


if __name__ == "__main__":
    main()
