"""Bias and variance of every estimator, on the analytic problem of the tests and on a small real one.

Each method's estimates are summed over one episode of eight segments, so that all methods estimate the same gradient.
Bias is the distance of the mean estimate from the true gradient. Noise is the root mean square distance of an estimate
of one pair from the mean estimate; for backpropagation, of two lanes, which take as many inner steps. Both are relative
to the norm of the true gradient.
Usage: PYTHONPATH=. python benchmarks/estimator_table.py [num_pairs]
"""

import dataclasses
import functools
import sys

from meta_train import environment

environment.apply()

import jax  # noqa: E402, environment variables must be set before JAX is imported
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
from jax.flatten_util import ravel_pytree  # noqa: E402

from meta_train.estimators import NRES, PES, FullBackprop, FullES, TruncatedBackprop, TruncatedES  # noqa: E402
from meta_train.task_problem import Episodes, TaskProblem  # noqa: E402
from tasks.families.mlp_classifier import MLPClassifier  # noqa: E402
from tests.meta_train import analytic  # noqa: E402
from velo.learned_optimizer import LearnedOptimizer  # noqa: E402

NUM_SEGMENTS = 8
BATCH = 64
"""Pairs in one estimate; its noise is that of one pair divided by the square root of this."""


@dataclasses.dataclass(frozen=True)
class Momentum(LearnedOptimizer):
    """Gradient descent with momentum and an exponential schedule; theta is these three numbers."""

    def init(self, key):
        return {"log_rate": jnp.log(0.1), "momentum": jnp.zeros(()), "log_decay": jnp.zeros(())}

    def bind(self, theta, num_steps):
        def rate(count):
            return jnp.exp(theta["log_rate"] - jnp.exp(theta["log_decay"]) * count / num_steps)

        return optax.with_extra_args_support(optax.sgd(rate, momentum=jax.nn.sigmoid(theta["momentum"])))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def episode(estimator, problem, num_segments, theta, data, key):
    """The sum of the estimates over one episode."""

    def step(loop, segment):
        state, total = loop
        estimate, state = estimator.estimate(problem, theta, state, data, jax.random.fold_in(key, segment))
        return (state, total + ravel_pytree(estimate.grad)[0]), ()

    state = estimator.init(problem, theta, data, key)
    size = ravel_pytree(theta)[0].size
    (_, total), _ = jax.lax.scan(step, (state, jnp.zeros(size)), jnp.arange(num_segments))
    return total


def estimates(estimator, problem, theta, data, num_batches: int) -> np.ndarray:
    count = NUM_SEGMENTS if estimator.persistent else 1
    return np.stack(
        [
            np.asarray(episode(estimator, problem, count, theta, data, jax.random.fold_in(jax.random.key(1), i)))
            for i in range(num_batches)
        ]
    )


def table(problem, theta, data, sigma: float, num_batches: int, exact: np.ndarray | None) -> None:
    methods = {
        "FullES": FullES(BATCH, sigma),
        "PES": PES(BATCH, sigma),
        "NRES": NRES(BATCH, sigma),
        "TruncatedES": TruncatedES(BATCH, sigma),
        "FullBackprop": FullBackprop(2 * BATCH),
        "TruncatedBackprop": TruncatedBackprop(2 * BATCH),
    }
    found = {name: estimates(method, problem, theta, data, num_batches) for name, method in methods.items()}
    true = found["FullBackprop"].mean(0) if exact is None else exact
    length = np.linalg.norm(true)
    print("| estimator | bias | its standard error | noise of one pair | cosine |")
    print("|---|---|---|---|---|")
    for name, values in found.items():
        mean = values.mean(0)
        noise = np.sqrt(np.mean(np.sum(np.square(values - mean), 1)))
        cosine = mean @ true / np.linalg.norm(mean) / length
        print(
            f"| {name} | {np.linalg.norm(mean - true) / length:.3f} | {noise / np.sqrt(len(values)) / length:.3f} "
            f"| {noise * np.sqrt(BATCH) / length:.2f} | {cosine:+.3f} |"
        )


def main() -> None:
    num_batches = (int(sys.argv[1]) if len(sys.argv) > 1 else 4096) // BATCH
    print("analytic, sigma 0.01")
    table(analytic.Decay(NUM_SEGMENTS), analytic.theta(), (), 0.01, 4 * num_batches, np.array([analytic.EXACT]))
    problem = TaskProblem(MLPClassifier(widths=(16,), batch_size=16), Momentum(), Episodes(10, 80, 80))
    theta = problem.optimizer.init(jax.random.key(0))
    for sigma in (0.01, 0.1):
        print(f"digits, sigma {sigma}")
        table(problem, theta, problem.data(), sigma, num_batches, None)


if __name__ == "__main__":
    main()
