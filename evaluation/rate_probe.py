"""Steps to a loss at each learning rate, and the rate that lowers the loss most from a state with that loss.

Surge (2405.14578) measures both for many batch sizes. Losses are measured on one large batch of the training data, the
same for all runs.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from evaluation import baselines
from tasks import inner_loop
from tasks.family import TaskFamily

JUDGE_SEED = 2**31 - 1
"""Seed of the examples on which losses are measured."""
CHECKS_AT_ONCE = 16
MAX_ORIGIN_STEPS = 20_000
"""Steps within which the run that gives the starting points has to reach the last target."""


class Program(NamedTuple):
    """The static arguments that a compiled program is specialised to."""

    family: TaskFamily
    judge: TaskFamily
    """The family whose batch size is the number of examples on which losses are measured."""
    optimizer: str
    setting: tuple[tuple[str, float], ...]

    def train(self, rate: Any, draw: Any, state: inner_loop.InnerState, train: Any, key: Any, num_steps: int):
        """The state after `num_steps` further steps at a rate."""
        tx = baselines.get(self.optimizer).bind({**dict(self.setting), "learning_rate": rate}, num_steps)
        return inner_loop.train(self.family, tx, draw, state, train, key, num_steps=num_steps)[0]

    def loss(self, draw: Any, params: Any, train: Any):
        """The loss on the judge's examples."""
        return inner_loop.mean_loss(self.judge, draw, params, train, jax.random.key(JUDGE_SEED), num_batches=1)


class Run(NamedTuple):
    """A run, and its parameters when its loss first reached each target."""

    state: inner_loop.InnerState
    params: Any  # [targets]
    is_reached: jax.Array  # [targets]


def _start(program: Program, rate, seed, num_targets: int):
    """(draw, initial run, data key) of a seed."""
    key_draw, key_init, key_data = jax.random.split(jax.random.fold_in(jax.random.key(0), seed), 3)
    draw = program.family.draw(key_draw)
    tx = baselines.get(program.optimizer).bind({**dict(program.setting), "learning_rate": rate}, 1)
    state = inner_loop.start(program.family, tx, draw, key_init)
    copies = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (num_targets, *jnp.shape(leaf))), state.params)
    return draw, Run(state, copies, jnp.zeros(num_targets, bool)), key_data


@functools.partial(jax.jit, static_argnums=(0, 1))
def _begin(program: Program, num_targets: int, rates, seeds, train):
    """(runs, losses [lanes]) before the first step."""

    def lane(rate, seed):
        draw, run, _ = _start(program, rate, seed, num_targets)
        return run, program.loss(draw, run.state.params, train)

    return jax.vmap(lane)(rates, seeds)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _advance(program: Program, num_checks: int, check_every: int, rates, seeds, runs, train, targets):
    """(runs, losses [lanes, checks]) after `num_checks * check_every` more steps."""

    def lane(rate, seed, run):
        draw, _, key = _start(program, rate, seed, len(targets))

        def check(run, _):
            state = program.train(rate, draw, run.state, train, key, check_every)
            loss = program.loss(draw, state.params, train)
            is_new = (loss <= targets) & ~run.is_reached

            def keep(old, new):
                return jnp.where(is_new.reshape((-1,) + (1,) * jnp.ndim(new)), jnp.expand_dims(new, 0), old)

            return Run(state, jax.tree.map(keep, run.params, state.params), run.is_reached | is_new), loss

        return jax.lax.scan(check, run, length=num_checks)

    return jax.vmap(lane)(rates, seeds, runs)


def _train(
    program: Program, rates, num_seeds: int, targets, max_steps: int, check_every: int
) -> tuple[Run, np.ndarray]:
    """(runs, losses [rates * seeds, 1 + checks]); stops once every seed has reached the last target at some rate."""
    lanes = jnp.repeat(jnp.asarray(rates, jnp.float32), num_seeds), jnp.tile(jnp.arange(num_seeds), len(rates))
    train, _ = program.family.load()
    goals = jnp.asarray(targets, jnp.float32)
    runs, loss = _begin(program, len(targets), *lanes, train)
    losses = [np.asarray(loss)[:, None]]
    num_checks = max(1, min(CHECKS_AT_ONCE, max_steps // check_every))
    for _ in range(math.ceil(max_steps / (num_checks * check_every))):
        runs, new = _advance(program, num_checks, check_every, *lanes, runs, train, goals)
        losses.append(np.asarray(new))
        if np.asarray(runs.is_reached[:, -1]).reshape(len(rates), num_seeds).all(axis=1).any():
            break
    return runs, np.concatenate(losses, axis=1)


def crossing(losses: np.ndarray, target: float, check_every: int) -> float:
    """Steps until the loss first reaches the target, interpolated linearly between checks; inf if it never does.

    Args:
        losses: [1 + checks], the first one before any step.
    """
    below = np.flatnonzero(losses <= target)
    if not len(below):
        return math.inf
    last = int(below[0])
    if last == 0:
        return 0.0
    before, after = losses[last - 1 : last + 1]
    return check_every * (last - 1 + float((before - target) / (before - after)))


def steps_to_targets(
    *,
    family: TaskFamily,
    judge: TaskFamily,
    optimizer: str,
    setting: tuple[tuple[str, float], ...],
    rates: tuple[float, ...],
    targets: tuple[float, ...],
    num_seeds: int,
    max_steps: int,
    check_every: int,
) -> dict[str, np.ndarray]:
    """Steps to each target at each rate.

    Args:
        family: the family with the batch size that is studied.
        judge: the same family, whose batch size is the number of examples on which losses are measured.
        optimizer: name of a baseline.
        setting: its hyperparameters other than the learning rate.
        targets: losses to reach, falling.
        max_steps: training stops here, or sooner once every seed has reached the last target at some rate.
        check_every: steps between two measurements of the loss.

    Returns:
        `steps` [targets, rates, seeds], inf where a target was not reached.
    """
    program = Program(family, judge, optimizer, setting)
    _, losses = _train(program, rates, num_seeds, targets, max_steps, check_every)
    steps = np.array([[crossing(row, target, check_every) for row in losses] for target in targets])
    return {"steps": steps.reshape(len(targets), len(rates), num_seeds)}


@functools.lru_cache(maxsize=4)
def _origins(origin: TaskFamily, judge: TaskFamily, rate: float, targets: tuple[float, ...], num_seeds: int) -> Any:
    """[seeds, targets] parameters at which a run of Adam at a fixed rate first reached each target.

    Raises:
        ValueError: a target is not reached.
    """
    program = Program(origin, judge, "adam", ())
    runs, losses = _train(program, (rate,), num_seeds, targets, MAX_ORIGIN_STEPS, 4)
    if not np.asarray(runs.is_reached).all():
        raise ValueError(f"the targets must be reached within {MAX_ORIGIN_STEPS} steps, got to {losses.min():.3g}")
    return runs.params


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _falls(program: Program, settle_steps: int, num_steps: int, rates, seeds, params, rounds, train):
    """[rates, seeds] fall of the loss over `num_steps` steps at each rate, averaged over rounds with other batches."""

    def over_rates(seed, params, number):
        draw, run, _ = _start(program, 0.0, seed, 1)
        key = jax.random.fold_in(jax.random.key(1), number)
        state = run.state._replace(params=params)
        settled = program.train(0.0, draw, state, train, key, settle_steps) if settle_steps else state
        before = program.loss(draw, params, train)

        def fall(rate):
            after = program.train(rate, draw, settled, train, key, num_steps)
            return before - program.loss(draw, after.params, train)

        return jax.lax.map(fall, rates)

    found = jax.vmap(jax.vmap(over_rates, (None, None, 0)), (0, 0, None))(seeds, params, rounds)
    return found.mean(axis=1).T


def falls(
    *,
    family: TaskFamily,
    judge: TaskFamily,
    origin: TaskFamily,
    origin_rate: float,
    optimizer: str,
    setting: tuple[tuple[str, float], ...],
    rates: tuple[float, ...],
    targets: tuple[float, ...],
    num_seeds: int,
    settle_steps: int,
    probe_steps: int,
    num_rounds: int,
) -> dict[str, np.ndarray]:
    """How far the loss falls over `probe_steps` steps at each rate, from the same parameters for all batch sizes.

    The optimizer's averages first settle at a rate of zero, on gradients of the batch size that is studied.

    Args:
        family: the family with the batch size that is studied.
        judge: as in `steps_to_targets`.
        origin: the family that Adam trains at `origin_rate` to get the starting parameters at each target.
        settle_steps: steps at a rate of zero; 0 for an optimizer without averages.
        probe_steps: steps over which the fall is measured.
        num_rounds: number of data orders to average over, for each seed.

    Returns:
        `falls` [targets, rates, seeds].

    Raises:
        ValueError: a target is not reached.
    """
    program = Program(family, judge, optimizer, setting)
    train, _ = family.load()
    params = _origins(origin, judge, origin_rate, targets, num_seeds)
    found = [
        _falls(
            program, settle_steps, probe_steps, jnp.asarray(rates, jnp.float32), jnp.arange(num_seeds),
            jax.tree.map(lambda leaf: leaf[:, index], params), jnp.arange(num_rounds), train,  # noqa: B023, used at once
        )
        for index in range(len(targets))
    ]  # fmt: skip
    return {"falls": np.array(found)}
