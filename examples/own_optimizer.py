"""One's own learned optimizer, meta-trained on small tasks. Usage: python own_optimizer.py"""

import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

import velo
from meta_train import learner
from meta_train.estimators import FullES
from meta_train.task_problem import Episodes, TaskProblem
from tasks.mixture import get_mixture


@dataclasses.dataclass(frozen=True)
class Schedule(velo.LearnedOptimizer):
    """Adam whose rate is a learned function of the fraction of training: theta are the logarithms at its knots."""

    num_knots: int = 5

    def init(self, key):
        return jnp.full(self.num_knots, jnp.log(1e-3))

    def bind(self, theta, num_steps):
        knots = jnp.linspace(0.0, 1.0, self.num_knots)
        return optax.with_extra_args_support(
            optax.adam(lambda step: jnp.exp(jnp.interp(step / num_steps, knots, theta)))
        )


def main(num_outer_steps=40, num_families=4, num_pairs=8, num_steps=200, segment_steps=50):
    optimizer, estimator = Schedule(), FullES(num_pairs=num_pairs, sigma=0.3, standardize=True)
    episodes = Episodes(segment_steps=segment_steps, min_steps=num_steps, max_steps=num_steps)
    families = [get_mixture("small").sample(np.random.default_rng(seed)) for seed in range(num_families)]
    problems = [TaskProblem(family, optimizer, episodes) for family in families]
    estimate = jax.jit(estimator.estimate, static_argnums=0)
    outer_tx = optax.adam(0.1)
    state = learner.init(outer_tx, optimizer.init(jax.random.key(0)))
    for step in range(num_outer_steps):
        started, contributions = time.perf_counter(), []
        for index, problem in enumerate(problems):
            key = jax.random.fold_in(jax.random.key(index), step)
            found, _ = estimate(problem, state.theta, (), problem.data(), key)
            contributions.append(learner.Contribution(
                index, step, found.grad, float(found.loss), int(found.num_nonfinite), int(found.num_inner_steps), 0.0
            ))  # fmt: skip
        state, metrics = learner.update(outer_tx, state, contributions, average_decay=0.9)
        print(f"outer step {step + 1}: meta-loss {metrics.loss:+.3f}, {time.perf_counter() - started:.1f} s")
    print("learned rates along the run:", np.exp(state.average).round(5))
    return optimizer, state.average  # weights for velo.optimizer, velo.fit and evaluation


if __name__ == "__main__":
    main()
