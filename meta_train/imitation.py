"""A warm start by backpropagation: theta is fitted to the updates of the best of several tuned optimizers."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from optax import contrib
from rich.console import Console

from meta_train.set_aside import NothingWorksError, Report
from meta_train.settings import MetaTraining
from tasks import inner_loop
from tasks.family import TaskFamily
from velo.learned_optimizer import LearnedOptimizer, Theta

NUM_LANES = 4
"""Runs of a task that are imitated side by side."""
TAIL_SHARE = 0.05
"""Share of a run whose mean loss decides which optimizer is best."""
RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
CLIP = 1.0


def _cosine(rate, num_steps: int) -> optax.Schedule:
    unit = optax.cosine_decay_schedule(1.0, num_steps)
    return lambda count: rate * unit(count)


TEACHERS: dict[str, tuple[Callable[[Any, int], optax.GradientTransformation], tuple[float, ...]]] = {
    "adam_cosine": (lambda rate, num_steps: optax.adam(_cosine(rate, num_steps)), RATES),
    "sgd_cosine": (lambda rate, num_steps: optax.sgd(_cosine(rate, num_steps), momentum=0.9), RATES),
    "prodigy_cosine": (lambda rate, num_steps: contrib.prodigy(_cosine(rate, num_steps)), (1.0,)),
}
"""Name -> (factory of rate and number of steps, rates that are tried)."""


@dataclasses.dataclass(frozen=True)
class Lesson:
    """A task and the optimizer to imitate on it. Static: each lesson has a compiled program of its own."""

    family: TaskFamily
    optimizer: LearnedOptimizer
    teacher: str
    inner_steps: int
    segment_steps: int


class State(NamedTuple):
    """Where the runs of a lesson stand, one entry for each lane."""

    draw: Any
    inner: inner_loop.InnerState  # of the teacher, whose trajectory the student follows
    student: Any


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _final_losses(family: TaskFamily, teacher: str, num_steps: int, rates, data):
    def lane(rate):
        key_draw, key_init, key_train = jax.random.split(jax.random.key(0), 3)
        draw = family.draw(key_draw)
        tx = TEACHERS[teacher][0](rate, num_steps)
        state = inner_loop.start(family, tx, draw, key_init)
        _, losses = inner_loop.train(family, tx, draw, state, data, key_train, num_steps=num_steps)
        tail = jnp.mean(losses[-max(1, round(TAIL_SHARE * num_steps)) :])
        return jnp.where(jnp.isfinite(tail), tail, jnp.inf)

    return jax.vmap(lane)(rates)


def best_teacher(family: TaskFamily, num_steps: int) -> tuple[str, float, float]:
    """(name, rate, final training loss) of the best optimizer at its best rate. The loss is infinite if all diverge."""
    data, _ = family.load()
    found = []
    for name, (_, rates) in TEACHERS.items():
        losses = np.asarray(_final_losses(family, name, num_steps, jnp.asarray(rates, jnp.float32), data))
        place = int(np.argmin(losses))
        found.append((name, rates[place], float(losses[place])))
    return min(found, key=lambda entry: entry[2])


def _student(lesson: Lesson, theta: Theta, draw: Any) -> optax.GradientTransformationExtraArgs:
    tx = lesson.family.wrap_optimizer(draw, lesson.optimizer.bind(theta, lesson.inner_steps))
    return optax.with_extra_args_support(tx)


@functools.partial(jax.jit, static_argnums=0)
def _start(lesson: Lesson, theta, rate, key):
    def lane(key):
        key_draw, key_init = jax.random.split(key)
        draw = lesson.family.draw(key_draw)
        teacher = TEACHERS[lesson.teacher][0](rate, lesson.inner_steps)
        inner = inner_loop.start(lesson.family, teacher, draw, key_init)
        return State(draw, inner, _student(lesson, theta, draw).init(inner.params))

    return jax.vmap(lane)(jax.random.split(key, NUM_LANES))


def distance(ours: Any, theirs: Any) -> jax.Array:
    """Mean over tensors of |u - v|^2 / (|u|^2 + |v|^2), in [0, 2]: 0 for equal updates, 1 for one of them zero."""

    def leaf(u, v):
        # Divide by the largest entry: squares of small updates, and above all their derivatives, leave float32's range.
        size = jax.lax.stop_gradient(jnp.maximum(jnp.max(jnp.abs(u)), jnp.max(jnp.abs(v))))
        u, v = (x / jnp.where(size > 0, size, 1.0) for x in (u, v))
        return jnp.sum(jnp.square(u - v)) / jnp.maximum(jnp.sum(jnp.square(u)) + jnp.sum(jnp.square(v)), 1e-6)

    return jnp.mean(jnp.stack(list(map(leaf, jax.tree.leaves(ours), jax.tree.leaves(theirs)))))


@functools.partial(jax.jit, static_argnums=0)
def _segment(lesson: Lesson, theta, state: State, rate, data, key):
    """(mean distance of the updates over a segment, its gradient, state). The initial state counts as constant."""

    def lane(theta, state: State, key):
        student = _student(lesson, theta, state.draw)
        teacher = TEACHERS[lesson.teacher][0](rate, lesson.inner_steps)
        teacher = optax.with_extra_args_support(lesson.family.wrap_optimizer(state.draw, teacher))

        def step(loop, _):
            inner, memory = loop
            key_batch, key_loss = jax.random.split(jax.random.fold_in(key, inner.step))
            batch = lesson.family.batch(data, key_batch)
            loss, grads = jax.value_and_grad(lesson.family.loss, argnums=1)(state.draw, inner.params, batch, key_loss)
            theirs, opt_state = teacher.update(grads, inner.opt_state, inner.params, value=loss)
            ours, memory = student.update(grads, memory, inner.params, value=loss)
            params = optax.apply_updates(inner.params, theirs)
            return (inner_loop.InnerState(params, opt_state, inner.step + 1), memory), distance(ours, theirs)

        (inner, memory), distances = jax.lax.scan(step, (state.inner, state.student), length=lesson.segment_steps)
        return jnp.mean(distances), State(state.draw, inner, memory)

    def mean_distance(theta):
        distances, states = jax.vmap(lane, in_axes=(None, 0, 0))(theta, state, jax.random.split(key, NUM_LANES))
        return jnp.mean(distances), states

    (loss, state), grad = jax.value_and_grad(mean_distance, has_aux=True)(theta)
    return loss, grad, state


def lessons(settings: MetaTraining, report: Report) -> list[tuple[Lesson, float]]:
    """(lesson, rate) for sampled architectures, without those on which every optimizer diverges.

    Raises:
        NothingWorksError: every optimizer diverges on all of them.
    """
    imitation = settings.imitation
    found = []
    for index in range(imitation.num_tasks):
        family = settings.mixture.sample(np.random.default_rng((settings.seed, 3, index)))
        teacher, rate, loss = best_teacher(family, imitation.inner_steps)
        report("imitation_teacher", family=repr(family), teacher=teacher, rate=rate, final_loss=loss)
        if math.isfinite(loss):
            lesson = Lesson(family, settings.optimizer, teacher, imitation.inner_steps, imitation.segment_steps)
            found.append((lesson, rate))
    if not found:
        raise NothingWorksError(
            f"imitation: every optimizer diverges on all of {imitation.num_tasks} tasks of the mixture"
        )
    return found


def follow(
    lessons: list[tuple[Lesson, float]], num_steps: int, learning_rate: float, seed: int, theta: Theta, report: Report
) -> tuple[Theta, list[float]]:
    """(theta, distances) after `num_steps` steps of Adam. Each step takes a segment of the next lesson in turn."""
    tx = optax.chain(optax.clip_by_global_norm(CLIP), optax.adam(learning_rate))
    opt_state = tx.init(theta)
    states: list[Any] = [None] * len(lessons)
    losses = []
    for step in range(num_steps):
        turn, place = divmod(step, len(lessons))
        lesson, rate = lessons[place]
        episode, segment = divmod(turn, lesson.inner_steps // lesson.segment_steps)
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed + 2**30), place), episode)
        key_start, key_train = jax.random.split(key)
        if segment == 0:
            states[place] = _start(lesson, theta, rate, key_start)
        data, _ = lesson.family.load()
        loss, grad, states[place] = _segment(lesson, theta, states[place], rate, data, key_train)
        losses.append(float(loss))
        if not all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(grad)):
            report("imitation_skipped", step=step, family=repr(lesson.family), reason="the gradient is not finite")
            continue
        updates, opt_state = tx.update(grad, opt_state, theta)
        theta = optax.apply_updates(theta, updates)
    return theta, losses


def fit(settings: MetaTraining, theta: Theta, console: Console, report: Report) -> Theta:
    """Theta, fitted to the updates of the best of the tuned optimizers on tasks of the mixture."""
    imitation = settings.imitation
    console.print(f"imitation: tuning optimizers on {imitation.num_tasks} tasks")
    taught = lessons(settings, report)
    theta, losses = follow(taught, imitation.num_steps, imitation.learning_rate, settings.seed, theta, report)
    quarter = max(1, len(losses) // 4)
    first, last = float(np.mean(losses[:quarter])), float(np.mean(losses[-quarter:]))
    report("imitated", first_distance=first, last_distance=last, num_steps=imitation.num_steps)
    console.print(f"imitation: distance of the updates {first:.3f} in the first quarter, {last:.3f} in the last")
    return theta
