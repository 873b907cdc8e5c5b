"""Trains one contender on one task and returns its curves; one compiled program advances several runs, its lanes.

Each lane has hyperparameters and a seed of its own. The seed alone determines the task's draw, the initial parameters,
the order of the data and the validation batches. So all optimizers get the same problem under the same seed.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from evaluation import step_sizes
from evaluation.baselines import Baseline, Hyperparameters
from evaluation.compiled_programs import MAX_PROGRAMS, CompiledPrograms, Stopwatch
from evaluation.curves import Cost, Curve
from evaluation.settings import Contender, Optimizer
from tasks import inner_loop
from tasks.family import TaskFamily
from tasks.fixed import FixedTask
from velo.learned_optimizer import LearnedOptimizer, Theta

PURPOSES = ("draw", "init", "train", "valid")
"""What PRNG keys are used for. A key depends on the position, so only append: existing runs keep their keys."""


@dataclasses.dataclass(frozen=True)
class Lane:
    """One run among those that a program advances together."""

    hyperparameters: tuple[tuple[str, float], ...]
    """Sorted by name."""
    seed: int


@dataclasses.dataclass(frozen=True)
class Program:
    """The static values that `start` and `advance` are compiled for."""

    family: TaskFamily
    optimizer: Optimizer
    num_steps: int
    records_step_sizes: bool

    def bind(self, theta: Theta, hyperparameters: Hyperparameters) -> optax.GradientTransformation:
        """The optimizer of one lane; `theta` and `hyperparameters` may be traced."""
        if isinstance(self.optimizer, LearnedOptimizer):
            tx = self.optimizer.bind(theta, self.num_steps)
        else:
            tx = self.optimizer.bind(hyperparameters, self.num_steps)
        return step_sizes.recorded(tx, self.num_steps) if self.records_step_sizes else tx


def evaluation_params(optimizer: Optimizer) -> Callable[[Any, Any], Any] | None:
    """(optimizer state, params) -> the point that the optimizer returns; None if that is `params`."""
    return optimizer.evaluation_params if isinstance(optimizer, Baseline) else None


def automatic_num_lanes() -> int:
    """Number of lanes of a program if the settings leave it open: 1 on a CPU, 16 on an accelerator.

    On a CPU more lanes gain little on the smallest tasks and lose a third of the speed on larger ones, as measured on
    the tasks of `holdout_small`. An accelerator is mostly idle with a single small network.
    """
    return 1 if jax.default_backend() == "cpu" else 16


def segment_lengths(num_steps: int, num_checkpoints: int) -> list[int]:
    """Numbers of steps between checkpoints: all the same, except that the last may be smaller.

    So a run compiles `advance` at most twice. There may be fewer segments than `num_checkpoints`: 15 steps and 10
    checkpoints give 8.
    """
    length = -(-num_steps // num_checkpoints)
    return [min(length, num_steps - done) for done in range(0, num_steps, length)]


def _key(seed, purpose: str):
    """The PRNG key of a seed for one of `PURPOSES`."""
    return jax.random.fold_in(jax.random.key(seed), PURPOSES.index(purpose))


def _over_lanes(function, *arguments):
    """Maps `function` over lanes by `jax.vmap`, or without it if there is only one, which is faster on a CPU."""
    if len(jax.tree.leaves(arguments)[0]) > 1:
        return jax.vmap(function)(*arguments)
    result = function(*jax.tree.map(lambda leaf: leaf[0], arguments))
    return jax.tree.map(lambda leaf: leaf[None], result)


def arguments(contender: Contender, lanes: Sequence[Lane]) -> tuple[Theta, dict[str, jax.Array], jax.Array]:
    """(theta, name -> hyperparameters [lanes], seeds [lanes]) of lanes whose hyperparameters have the same names."""
    theta = jax.tree.map(jnp.asarray, contender.theta)
    hyperparameters = {
        name: jnp.asarray([dict(lane.hyperparameters)[name] for lane in lanes], jnp.float32)
        for name, _ in lanes[0].hyperparameters
    }
    return theta, hyperparameters, jnp.asarray([lane.seed for lane in lanes], jnp.int32)


def start(program: Program, theta, hyperparameters, seeds):
    """(draws, states) before the first step, each with a leading axis of lanes."""

    def lane(seed, hyperparameters):
        draw = program.family.draw(_key(seed, "draw"))
        return draw, inner_loop.start(
            program.family, program.bind(theta, hyperparameters), draw, _key(seed, "init")
        )  # fmt: skip

    return _over_lanes(lane, seeds, hyperparameters)


def advance(program: Program, segment_steps: int, theta, hyperparameters, seeds, draws, states, train):
    """(states, training losses [lanes, segment_steps]) after `segment_steps` more steps."""

    def lane(seed, hyperparameters, draw, state):
        return inner_loop.train(
            program.family,
            program.bind(theta, hyperparameters),
            draw,
            state,
            train,
            _key(seed, "train"),
            num_steps=segment_steps,
            evaluation_params=evaluation_params(program.optimizer),
        )

    return _over_lanes(lane, seeds, hyperparameters, draws, states)


def _returned(optimizer: Optimizer, states):
    """The parameters that the optimizer returns, with a leading axis of lanes."""
    returned = evaluation_params(optimizer)
    assert returned is not None
    return jax.vmap(returned)(states.opt_state, states.params)


def _validate(family: TaskFamily, num_batches: int, seeds, draws, steps, params, valid):
    """Validation losses [lanes]. It doesn't depend on the optimizer, so all optimizers share its program."""

    def lane(seed, draw, step, params):
        draw = family.draw_at(draw, step)
        return inner_loop.mean_loss(family, draw, params, valid, _key(seed, "valid"), num_batches=num_batches)

    return _over_lanes(lane, seeds, draws, steps, params)


class Trainer:
    """Trains contenders on tasks; owns the compiled programs, so that runs share those that are equal."""

    def __init__(self, max_programs: int = MAX_PROGRAMS):
        self.programs = CompiledPrograms(max_programs)

    def run(
        self,
        task: FixedTask,
        contender: Contender,
        lanes: Sequence[Lane],
        *,
        num_lanes: int,
        num_checkpoints: int,
        num_valid_batches: int,
        on_steps: Callable[[int], None] = lambda num_steps: None,
    ) -> list[Curve]:
        """Trains up to `num_lanes` lanes together for `task.num_steps` steps.

        Fewer lanes are padded with copies of the last one. So tuning and reporting share one compiled program, and a
        curve doesn't depend on the number of runs beside it.

        Args:
            lanes: their hyperparameters have the same names.
            num_lanes: number of lanes of the program.
            num_checkpoints: the greatest number of validation losses per curve (`segment_lengths`).
            num_valid_batches: batches that each validation loss averages.
            on_steps: called at every checkpoint with the number of steps since the one before, summed over `lanes`.

        Returns:
            One curve per lane, in the order of `lanes`; diverged runs are kept.

        Raises:
            ValueError: there are no lanes, or more than `num_lanes`.
        """
        if not 1 <= len(lanes) <= num_lanes:
            raise ValueError(f"run: the number of lanes must be in [1, {num_lanes}], got {len(lanes)}")
        padded = [*lanes, *(lanes[-1] for _ in range(num_lanes - len(lanes)))]
        optimizer = contender.optimizer
        program = Program(task.family, optimizer, task.num_steps, records_step_sizes=contender.is_learned)
        train, valid = task.family.load()
        theta, hyperparameters, seeds = arguments(contender, padded)
        stopwatch = Stopwatch(self.programs)
        draws, states = stopwatch.call(start, (program,), theta, hyperparameters, seeds)
        train_losses, valid_losses = [], []
        lengths = segment_lengths(task.num_steps, num_checkpoints)
        for segment_steps in lengths:
            states, segment_loss = stopwatch.call(
                advance, (program, segment_steps), theta, hyperparameters, seeds, draws, states, train
            )
            params = states.params
            if evaluation_params(optimizer) is not None:
                params = stopwatch.call(_returned, (optimizer,), states)
            valid_loss = stopwatch.call(
                _validate, (task.family, num_valid_batches), seeds, draws, states.step, params, valid
            )
            train_losses.append(np.asarray(segment_loss))
            valid_losses.append(np.asarray(valid_loss))
            on_steps(segment_steps * len(lanes))
        train_loss = np.concatenate(train_losses, axis=1).astype(np.float32)
        valid_loss = np.stack(valid_losses, axis=1).astype(np.float32)
        recorded = step_sizes.collect(states.opt_state, states.params, task.num_steps)
        memory_bytes = stopwatch.memory_bytes()
        cost = Cost(
            seconds=stopwatch.seconds / num_lanes,
            cpu_seconds=stopwatch.cpu_seconds / num_lanes,
            compile_seconds=stopwatch.compile_seconds,
            state_bytes=step_sizes.state_bytes(states.opt_state) // num_lanes,
            memory_bytes=None if memory_bytes is None else memory_bytes // num_lanes,
            num_lanes=num_lanes,
        )
        return [
            Curve(
                task=task.name,
                optimizer=contender.label,
                hyperparameters=lane.hyperparameters,
                seed=lane.seed,
                train_loss=train_loss[index],
                valid_steps=np.cumsum(lengths),
                valid_loss=valid_loss[index],
                cost=cost,
                step_sizes=recorded[index] if recorded else None,
            )
            for index, lane in enumerate(lanes)
        ]
