"""Predicts the time of a training step from its lowered program, before anything is compiled."""

import functools
import time
from typing import Any

import jax
import jax.extend
import numpy as np

from tasks.family import TaskFamily

FEATURES = ("step", "flops", "bytes accessed", "transcendentals", "calls")
"""A constant one, three sums from XLA's cost analysis of the lowered program, and the number of operations that run."""
SECONDS = (0.0, 3.26e-11, 1.75e-11, 3.57e-9, 1.88e-7)
"""Seconds for one unit of each feature, from `calibrate` on one core of a virtual machine; see docs/tasks.md."""


def _gradient(family: TaskFamily):
    def gradient(draw, params, data, key):
        return jax.value_and_grad(family.loss, argnums=1)(draw, params, family.batch(data, key), key)

    key = jax.random.key(0)
    draw = jax.eval_shape(family.draw, key)
    return jax.jit(gradient).trace(draw, jax.eval_shape(family.init, draw, key), family.load()[0], key)


def _count_calls(jaxpr: Any) -> float:
    """Number of operations that run.

    Operations inside a scan count once per iteration. A call of `prng.threefry` counts as one, since its rounds fuse.
    """
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.params.get("name") == "threefry":
            total += 1.0
            continue
        inside = sum(_count_calls(inner) for inner in jax.extend.core.jaxprs_in_params(equation.params))
        repeats = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        total += repeats * inside if inside else 1.0
    return total


@functools.cache
def count(family: TaskFamily) -> tuple[float, ...]:
    """The `FEATURES` of a batch, its loss and the gradients.

    Raises:
        MissingDataError: the family's data are not on this machine.
    """
    return count_program(_gradient(family))


def count_program(traced: Any) -> tuple[float, ...]:
    """The `FEATURES` of any program, as `jax.jit(f).trace(...)` returns it."""
    analysis = traced.lower().cost_analysis() or {}
    sums = [float(analysis.get(name, 0.0)) for name in FEATURES[1:4]]
    return (1.0, *sums, _count_calls(traced.jaxpr.jaxpr))


def predict_step_seconds(family: TaskFamily, seconds: tuple[float, ...] = SECONDS) -> float:
    """Predicted seconds on one CPU core of a batch, its loss and the gradients, without an optimizer or `jax.vmap`.

    Raises:
        MissingDataError: as `count`.
    """
    return float(np.dot(count(family), seconds))


def measure_step_seconds(family: TaskFamily, *, num_steps: int = 200) -> float:
    """Measured processor seconds of a step of plain gradient descent: batch, loss, gradients and update.

    Compiles the step, which isn't part of the time.

    Raises:
        MissingDataError: as `count`.
    """
    data = family.load()[0]

    @jax.jit
    def train(data, key):
        draw = family.draw(key)

        def step(params, key):
            grads = jax.grad(family.loss, argnums=1)(draw, params, family.batch(data, key), key)
            return jax.tree.map(lambda leaf, grad: leaf - 1e-3 * grad, params, grads), ()

        return jax.lax.scan(step, family.init(draw, key), jax.random.split(key, num_steps))[0]

    jax.block_until_ready(train(data, jax.random.key(0)))
    started = time.process_time()
    jax.block_until_ready(train(data, jax.random.key(1)))
    return (time.process_time() - started) / num_steps


def calibrate(features: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Non-negative seconds [features], fitted by least squares of the relative errors of `features` @ seconds.

    Args:
        features: [programs, features].
        measured: seconds [programs].
    """
    from scipy.optimize import nnls

    scale = features.max(0)
    scale = np.where(scale > 0, scale, 1.0)
    return nnls(features / scale / measured[:, None], np.ones(len(measured)))[0] / scale


def quality(predicted: np.ndarray, measured: np.ndarray) -> tuple[float, float]:
    """(rank correlation, share of predictions within a factor of two) of predicted and measured seconds [programs]."""
    one, other = (np.argsort(np.argsort(values)) for values in (predicted, measured))
    within = np.abs(np.log2(predicted / measured)) <= 1.0
    return float(np.corrcoef(one, other)[0, 1]), float(within.mean())
