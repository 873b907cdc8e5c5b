"""Trains one optimizer on one task in the lanes of one compiled program.

A lane is a run with its own hyperparameters and seed; a program of one lane is not vectorised. The seed alone gives
the task's draw, the initial parameters, the order of the data and the validation batches, so that every optimizer
faces the same problem under a seed.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from evaluation import contender as contenders
from evaluation import step_sizes
from evaluation.contender import Contender, Rule
from evaluation.curves import Cost, Curve
from tasks import inner_loop
from tasks.family import TaskFamily
from tasks.fixed import FixedTask

PURPOSES = ("draw", "init", "train", "valid")
"""The order fixes each purpose's key: append only."""
MAX_PROGRAMS = 48
"""Compiled programs that a process keeps."""


@dataclasses.dataclass(frozen=True)
class Lane:
    hyperparameters: tuple[tuple[str, float], ...]
    """Sorted by name."""
    seed: int


@dataclasses.dataclass(frozen=True)
class Program:
    """What the compiled program depends on, apart from the shapes of its arguments."""

    family: TaskFamily
    rule: Rule
    num_steps: int

    watch: bool = False
    """Whether the sizes of the steps are recorded."""

    def bind(self, theta, hyperparameters):
        tx = contenders.bind(self.rule, theta, hyperparameters, self.num_steps)
        return step_sizes.watched(tx, self.num_steps) if self.watch else tx


def automatic_num_lanes() -> int:
    """Lanes of a program where the settings leave it open.

    One on a CPU, where lanes gain little on the smallest tasks and cost a third of the speed on larger ones (measured
    on the tasks of `holdout_small`); on an accelerator, which small networks leave idle, sixteen.
    """
    return 1 if jax.default_backend() == "cpu" else 16


def _key(seed, purpose: str):
    return jax.random.fold_in(jax.random.key(seed), PURPOSES.index(purpose))


def _over_lanes(function, *arguments):
    """vmap, or the plain function in a program of one lane."""
    if len(jax.tree.leaves(arguments)[0]) > 1:
        return jax.vmap(function)(*arguments)
    result = function(*jax.tree.map(lambda leaf: leaf[0], arguments))
    return jax.tree.map(lambda leaf: leaf[None], result)


@functools.partial(jax.jit, static_argnums=0)
def _start(program: Program, theta, hyperparameters, seeds):
    """(draws, states), each with a leading axis of lanes."""

    def lane(seed, hyperparameters):
        draw = program.family.draw(_key(seed, "draw"))
        return draw, inner_loop.start(
            program.family, program.bind(theta, hyperparameters), draw, _key(seed, "init")
        )  # fmt: skip

    return _over_lanes(lane, seeds, hyperparameters)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _advance(program: Program, segment_steps: int, theta, hyperparameters, seeds, draws, states, train):
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
            evaluation_params=contenders.evaluation_params(program.rule),
        )

    return _over_lanes(lane, seeds, hyperparameters, draws, states)


@functools.partial(jax.jit, static_argnums=0)
def _returned(rule: Rule, states):
    """The parameters that the optimizer returns."""
    evaluation_params = contenders.evaluation_params(rule)
    assert evaluation_params is not None
    return jax.vmap(evaluation_params)(states.opt_state, states.params)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _validate(family: TaskFamily, num_batches: int, seeds, draws, params, valid):
    """Validation losses [lanes]; knows no optimizer, so that all of them share its program."""

    def lane(seed, draw, params):
        return inner_loop.mean_loss(family, draw, params, valid, _key(seed, "valid"), num_batches=num_batches)

    return _over_lanes(lane, seeds, draws, params)


@functools.cache
def _compile(function, static: tuple, treedef, types: tuple):
    """(executable, seconds that it took): compiled ahead so that its cost isn't mistaken for the run's."""
    arguments = treedef.unflatten(
        [jax.ShapeDtypeStruct(kind.shape, kind.dtype, weak_type=kind.weak_type) for kind in types]
    )
    begin = time.perf_counter()
    executable = function.lower(*static, *arguments).compile()
    return executable, time.perf_counter() - begin


def limit_programs() -> None:
    """Forgets all compiled programs once there are many.

    Each takes hundreds of the 65,530 memory maps that Linux grants a process; a sweep of 150 pairs of tasks and
    optimizers ran out of them.
    """
    if _compile.cache_info().currsize > MAX_PROGRAMS:
        _compile.cache_clear()
        jax.clear_caches()


class _Stopwatch:
    """Calls programs and keeps the seconds of compiling them apart from the seconds of running them."""

    def __init__(self):
        self.compile_seconds = {}
        self.seconds = 0.0
        self.cpu_seconds = 0.0

    def call(self, function, static: tuple, *arguments):
        leaves, treedef = jax.tree.flatten(arguments)
        executable, compile_seconds = _compile(function, static, treedef, tuple(jax.typeof(leaf) for leaf in leaves))
        self.compile_seconds[executable] = compile_seconds
        begin, cpu_begin = time.perf_counter(), time.process_time()
        result = jax.block_until_ready(executable(*arguments))
        self.seconds += time.perf_counter() - begin
        self.cpu_seconds += time.process_time() - cpu_begin
        return result

    def memory_bytes(self) -> int | None:
        """The greatest of the programs that ran."""
        sizes = [_memory_bytes(executable) for executable in self.compile_seconds]
        return max((size for size in sizes if size is not None), default=None)


def _memory_bytes(executable) -> int | None:
    try:
        memory = executable.memory_analysis()
    except (RuntimeError, NotImplementedError):  # not every backend keeps the account
        return None
    if memory is None:
        return None
    return (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
        - memory.alias_size_in_bytes
    )


def segments(num_steps: int, num_checkpoints: int) -> list[int]:
    """Steps between checkpoints: all equal but a shorter last one where they don't divide, to compile at most twice."""
    size = -(-num_steps // num_checkpoints)
    return [min(size, num_steps - done) for done in range(0, num_steps, size)]


def run(
    task: FixedTask,
    contender: Contender,
    lanes: Sequence[Lane],
    *,
    num_lanes: int,
    num_checkpoints: int,
    num_valid_batches: int,
    on_steps: Callable[[int], None] = lambda num_steps: None,
) -> list[Curve]:
    """Trains at most `num_lanes` lanes together for `task.num_steps` steps; a curve a lane, in the same order.

    Fewer lanes are padded with copies of the last, so that tuning and reporting share one compiled program and a
    curve doesn't depend on what ran beside it. Calls `on_steps` with the number of steps (over all lanes) just done,
    once a checkpoint. Every lane needs the same names of hyperparameters.
    """
    if not 1 <= len(lanes) <= num_lanes:
        raise ValueError(f"run: the number of lanes must be in [1, {num_lanes}], got {len(lanes)}")
    padded = [*lanes, *(lanes[-1] for _ in range(num_lanes - len(lanes)))]
    program = Program(task.family, contender.rule, task.num_steps, watch=contender.is_learned)
    train, valid = task.family.load()
    theta = jax.tree.map(jnp.asarray, contender.theta)
    hyperparameters = {
        name: jnp.asarray([dict(lane.hyperparameters)[name] for lane in padded], jnp.float32)
        for name, _ in lanes[0].hyperparameters
    }
    seeds = jnp.asarray([lane.seed for lane in padded], jnp.int32)

    stopwatch = _Stopwatch()
    draws, states = stopwatch.call(_start, (program,), theta, hyperparameters, seeds)
    train_losses, valid_losses = [], []
    sizes = segments(task.num_steps, num_checkpoints)
    for size in sizes:
        states, segment_loss = stopwatch.call(
            _advance, (program, size), theta, hyperparameters, seeds, draws, states, train
        )
        params = states.params
        if contenders.evaluation_params(contender.rule) is not None:
            params = stopwatch.call(_returned, (contender.rule,), states)
        valid_loss = stopwatch.call(_validate, (task.family, num_valid_batches), seeds, draws, params, valid)
        train_losses.append(np.asarray(segment_loss))
        valid_losses.append(np.asarray(valid_loss))
        on_steps(size * len(lanes))
    train_loss = np.concatenate(train_losses, axis=1).astype(np.float32)
    valid_loss = np.stack(valid_losses, axis=1).astype(np.float32)
    watched = step_sizes.collect(states.opt_state, states.params, task.num_steps)
    memory_bytes = stopwatch.memory_bytes()
    cost = Cost(
        seconds=stopwatch.seconds / num_lanes,
        cpu_seconds=stopwatch.cpu_seconds / num_lanes,
        compile_seconds=sum(stopwatch.compile_seconds.values()),
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
            valid_steps=np.cumsum(sizes),
            valid_loss=valid_loss[index],
            cost=cost,
            step_sizes=watched[index] if watched else None,
        )
        for index, lane in enumerate(lanes)
    ]
