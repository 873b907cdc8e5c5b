"""Training runs measured at both the last iterate and the average of the iterates, with the size of every step.

Curves (`evaluation.training`) are measured at only one of the two points. Here one compiled program runs all settings
of an optimizer in turn, each with its seeds side by side, so a grid of learning rates on a small task takes seconds.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from evaluation import baselines
from evaluation.baselines import averaging
from tasks import inner_loop
from tasks.family import TaskFamily

TINY = 1e-30


class TracedState(NamedTuple):
    inner: Any
    initial_params: Any
    step_sizes: jax.Array  # [num_steps]
    max_distance: jax.Array
    count: jax.Array


def traced(tx: optax.GradientTransformation, num_steps: int) -> optax.GradientTransformationExtraArgs:
    """Wraps `tx` to record |update| / |gradient| of every step, and the greatest |x_t - x_0|, in its state."""
    tx = optax.with_extra_args_support(tx)

    def init(params):
        zero = jnp.zeros(())
        return TracedState(tx.init(params), params, jnp.zeros(num_steps), zero, jnp.zeros((), jnp.int32))

    def update(updates, state, params: Any = None, **extra_args):
        norm = optax.tree.norm(updates)
        updates, inner = tx.update(updates, state.inner, params, **extra_args)
        size = optax.tree.norm(updates) / jnp.maximum(norm, TINY)
        moved = optax.tree.norm(optax.tree.sub(optax.apply_updates(params, updates), state.initial_params))
        return updates, TracedState(
            inner,
            state.initial_params,
            state.step_sizes.at[state.count].set(size),
            jnp.maximum(state.max_distance, moved),
            state.count + 1,
        )

    return optax.GradientTransformationExtraArgs(init, update)


class Program(NamedTuple):
    """The static values that `_run` is compiled for."""

    family: TaskFamily
    optimizer: str
    names: tuple[str, ...]
    num_steps: int
    num_valid_batches: int


@functools.partial(jax.jit, static_argnums=0)
def _run(program: Program, values, seeds, train, valid):
    """The results of `iterate_runs` for values [settings, hyperparameters] and seeds [seeds]."""
    family = program.family

    def lane(value, seed):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(0), seed), 4)
        setting = dict(zip(program.names, value, strict=True))
        tx = traced(baselines.get(program.optimizer).bind(setting, program.num_steps), program.num_steps)
        tx = averaging.averaged(tx)
        draw = family.draw(keys[0])
        state = inner_loop.start(family, tx, draw, keys[1])
        state, losses = inner_loop.train(family, tx, draw, state, train, keys[2], num_steps=program.num_steps)

        def loss(params):
            return inner_loop.mean_loss(family, draw, params, valid, keys[3], num_batches=program.num_valid_batches)

        found = state.opt_state.inner
        return {
            "last": loss(state.params),
            "average": loss(state.opt_state.average),
            "train": losses,
            "step_sizes": found.step_sizes,
            "distance": found.max_distance,
        }

    over_seeds = jax.vmap(lane, (None, 0))
    return jax.lax.map(lambda value: over_seeds(value, seeds), values)


def iterate_runs(
    *,
    family: TaskFamily,
    optimizer: str,
    settings: tuple[tuple[tuple[str, float], ...], ...],
    num_seeds: int,
    num_steps: int,
    num_valid_batches: int = 16,
) -> dict[str, np.ndarray]:
    """All settings of a baseline under all seeds.

    Args:
        family: the task family.
        optimizer: name of a baseline that takes its gradients at its last iterate.
        settings: at least one setting: (hyperparameter, value) pairs, of the same names in the same order in all.
        num_seeds: the seeds are 0 to num_seeds - 1; all settings get the same problems.
        num_steps: length of each run.
        num_valid_batches: batches that each validation loss averages, the same for all settings.

    Returns:
        Arrays by name:

        - `last`, `average` [settings, seeds]: validation losses after the last step, at the last iterate and at the
          polynomial-decay average of the iterates (`averaging.averaged`)
        - `train` [settings, seeds, steps]: training losses before each step
        - `step_sizes` [settings, seeds, steps]: |update| / |gradient|
        - `distance` [settings, seeds]: the greatest |x_t - x_0|

        Diverged runs have non-finite values.

    Raises:
        ValueError: settings have hyperparameters of different names, or the baseline or a hyperparameter is unknown.
    """
    names = tuple(name for name, _ in settings[0])
    for setting in settings:
        if tuple(name for name, _ in setting) != names:
            raise ValueError(f"iterate_runs: all settings must have the hyperparameters {names}, got {setting}")
    train, valid = family.load()
    values = jnp.asarray([[value for _, value in setting] for setting in settings], jnp.float32)
    program = Program(family, optimizer, names, num_steps, num_valid_batches)
    found = _run(program, values, jnp.arange(num_seeds), train, valid)
    return {name: np.asarray(array) for name, array in found.items()}
