"""The benchmark's fifteen optimizers with its defaults and search spaces, under its four schedules."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from evaluation.baselines import Baseline, LogUniform, Span, bounded

RATE, SCHEDULE = "learning_rate", "schedule"
PREFIX = "valley_"
"""Prefix of the baselines' names: they differ from those of the catalogue in defaults and search spaces."""
SCHEDULES = ("none", "cosine", "cosine_wr", "ltr")
"""Names as in the benchmark's log: constant, cosine, cosine with warm restarts, trapezoidal."""
NUM_PARTS = 100
"""The rate is constant over each hundredth of a run, which is an epoch of P1. Deviation: for the other problems the
benchmark changes the rate every epoch."""
WARM_UP, COOL_DOWN = 10, 10
FIRST_CYCLE = 10


@dataclasses.dataclass(frozen=True)
class WholeNumber(Span):
    """Uniform over the integers from `low` to `high`, both included."""

    def __post_init__(self):
        if self.low != int(self.low) or self.high != int(self.high) or not self.low < self.high:
            raise ValueError(f"WholeNumber: need whole numbers low < high, got {self.low} and {self.high}")

    def at(self, quantile):
        return float(min(math.floor(self.low + quantile * (self.high - self.low + 1)), self.high))


def factors(part: jax.Array) -> jax.Array:
    """[schedules] factors on the rate in one hundredth of the run, counted from 0, as in the benchmark's log.

    The trapezoidal schedule has one epoch at the full rate before its warm-up. The warm restarts have cycles of 10, 20,
    40 and 80 hundredths; the run ends within the last cycle.
    """
    part = jnp.asarray(part, jnp.float32)
    cosine = 0.5 * (1.0 + jnp.cos(jnp.pi * part / NUM_PARTS))
    cycle = jnp.floor(jnp.log2(part / FIRST_CYCLE + 1.0) + 1e-6)
    begin = FIRST_CYCLE * (2.0**cycle - 1.0)
    restarted = 0.5 * (1.0 + jnp.cos(jnp.pi * (part - begin) / (FIRST_CYCLE * 2.0**cycle)))
    rise = jnp.where(part == 0, 1.0, jnp.minimum(part / WARM_UP, 1.0))
    fall = jnp.minimum((NUM_PARTS + 1 - part) / (COOL_DOWN + 1), 1.0)
    return jnp.stack([jnp.ones(()), cosine, restarted, jnp.minimum(rise, fall)])


class LookaheadState(NamedTuple):
    """State of the inner optimizer, the slow weights, and the number of steps."""

    inner: Any
    slow: Any
    count: jax.Array


def lookahead(tx: optax.GradientTransformation, period: Any, step_size: Any) -> optax.GradientTransformation:
    """Lookahead (1907.08610) with a period that may be traced; optax's must be a Python number.

    Evaluation uses the fast weights, as in the benchmark.
    """

    def init(params):
        return LookaheadState(tx.init(params), params, jnp.zeros((), jnp.int32))

    def update(updates, state, params: Any = None):
        updates, inner = tx.update(updates, state.inner, params)
        count = state.count + 1
        is_synced = count % jnp.asarray(period).astype(jnp.int32) == 0
        fast = optax.apply_updates(params, updates)
        slow = jax.tree.map(lambda old, new: jnp.where(is_synced, old + step_size * (new - old), old), state.slow, fast)
        updates = jax.tree.map(
            lambda update, param, new: jnp.where(is_synced, new - param, update), updates, params, slow
        )
        return updates, LookaheadState(inner, slow, count)

    return optax.GradientTransformation(init, update)


def _amsgrad(rate, h):
    """AMSGrad as AMSBound with bounds that never bind. The maximum is over second moments before bias correction.

    This is the benchmark's order.
    """
    return bounded.adabound(rate, peak_rate=1.0, b1=h["b1"], b2=h["b2"], final_rate=1.0, gamma=1e-12, amsbound=True)


def _bounded(rate, h, amsbound: bool):
    return bounded.adabound(
        rate, peak_rate=h[RATE], b1=h["b1"], b2=h["b2"], final_rate=h["final_rate"], gamma=h["gamma"],
        amsbound=amsbound,
    )  # fmt: skip


def _transformation(kind: str, rate: optax.Schedule, h: Any) -> optax.GradientTransformation:
    """The optimizer with the constants of the benchmark's implementations, most of which are those of TensorFlow 1."""
    match kind:
        case "adabelief":
            return optax.adabelief(rate, h["b1"], h["b2"])
        case "adabound" | "amsbound":
            return _bounded(rate, h, kind == "amsbound")
        case "adadelta":
            return optax.adadelta(rate, h["rho"], eps=1e-8)
        case "adagrad":
            return optax.adagrad(rate, initial_accumulator_value=0.1, eps=0.0)
        case "adam":
            return optax.adam(rate, h["b1"], h["b2"])
        case "amsgrad":
            return _amsgrad(rate, h)
        case "lookahead_momentum":
            return lookahead(optax.sgd(rate, h["momentum"]), h["period"], h["slow_step_size"])
        case "lookahead_radam":
            return lookahead(optax.radam(rate, h["b1"], h["b2"], eps=1e-7), h["period"], h["slow_step_size"])
        case "momentum":
            return optax.sgd(rate, h["momentum"])
        case "nadam":
            return optax.nadam(rate, h["b1"], h["b2"], eps=1e-7)
        case "nag":
            return optax.sgd(rate, h["momentum"], nesterov=True)
        case "radam":
            return optax.radam(rate, h["b1"], h["b2"], eps=1e-7)
        case "rmsprop":
            return optax.rmsprop(rate, decay=0.9, eps=1e-10, initial_scale=1.0)
        case "sgd":
            return optax.sgd(rate)
    raise ValueError(f"unknown optimizer {kind!r}")


@dataclasses.dataclass(frozen=True)
class Factory:
    """The factory of a baseline whose schedule is a hyperparameter, so that all schedules share one program."""

    kind: str

    def __call__(self, hyperparameters, num_steps):
        """The optax transformation of a run."""
        schedule = jnp.asarray(hyperparameters[SCHEDULE]).astype(jnp.int32)

        def rate(count):
            return hyperparameters[RATE] * factors(count * NUM_PARTS // num_steps)[schedule]

        return _transformation(self.kind, rate, hyperparameters)


_RATE: dict[str, Span] = {RATE: LogUniform(1e-4, 1.0)}
_MOMENTS = {**_RATE, "b1": LogUniform(0.5, 0.999), "b2": LogUniform(0.8, 0.999)}
_MOMENTUM = {**_RATE, "momentum": LogUniform(1e-3, 0.999)}
_BOUNDS = {**_MOMENTS, "final_rate": LogUniform(1e-3, 0.5), "gamma": LogUniform(1e-4, 0.1)}
_AHEAD = {"slow_step_size": LogUniform(1e-4, 1.0), "period": WholeNumber(1.0, 20.0)}
_ADAM = {RATE: 1e-3, "b1": 0.9, "b2": 0.999}
_MOMENTUM_DEFAULTS = {RATE: 1e-2, "momentum": 0.99}
_AHEAD_DEFAULTS = {"slow_step_size": 0.5, "period": 5.0}
_BOUND_DEFAULTS = {**_ADAM, "final_rate": 0.1, "gamma": 1e-3}


def _baseline(kind: str, paper: str, space: dict[str, Span], defaults: dict[str, float]) -> Baseline:
    return Baseline(
        f"{PREFIX}{kind}", Factory(kind), paper, tuple(space.items()), (*defaults.items(), (SCHEDULE, 0.0))
    )  # fmt: skip


_TABLE = (
    _baseline("amsbound", "1902.09843", _BOUNDS, _BOUND_DEFAULTS),
    _baseline("amsgrad", "1904.09237", _MOMENTS, {**_ADAM, RATE: 1e-2}),
    _baseline("adabelief", "2010.07468", _MOMENTS, _ADAM),
    _baseline("adabound", "1902.09843", _BOUNDS, _BOUND_DEFAULTS),
    _baseline("adadelta", "1212.5701", {**_RATE, "rho": LogUniform(1e-3, 0.999)}, {RATE: 1e-3, "rho": 0.95}),
    _baseline("adagrad", "Duchi et al. 2011", _RATE, {RATE: 1e-2}),
    _baseline("adam", "1412.6980", _MOMENTS, _ADAM),
    _baseline("lookahead_momentum", "1907.08610", {**_MOMENTUM, **_AHEAD}, {**_MOMENTUM_DEFAULTS, **_AHEAD_DEFAULTS}),
    _baseline("lookahead_radam", "1907.08610", {**_MOMENTS, **_AHEAD}, {**_ADAM, **_AHEAD_DEFAULTS}),
    _baseline("momentum", "Polyak 1964", _MOMENTUM, _MOMENTUM_DEFAULTS),
    _baseline("nag", "Nesterov 1983", _MOMENTUM, _MOMENTUM_DEFAULTS),
    _baseline("nadam", "Dozat 2016", _MOMENTS, _ADAM),
    _baseline("radam", "1908.03265", _MOMENTS, _ADAM),
    _baseline("rmsprop", "Tieleman and Hinton 2012", _RATE, {RATE: 1e-3}),
    _baseline("sgd", "Robbins and Monro 1951", _RATE, {RATE: 1e-2}),
)
OPTIMIZERS: dict[str, Baseline] = {baseline.name.removeprefix(PREFIX): baseline for baseline in _TABLE}
"""Baselines by name. AdaBelief is the fifteenth, added in the paper's final version."""
