"""Learning-rate schedules: the factor on the learning rate at every step of a run."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax

WARM_UP = 0.1
"""Share of the steps over which warm-ups rise linearly; the factor of the first step is above 0."""
COOL_DOWN = 0.2
"""Share of the steps over which `trapezoidal` falls linearly at the end."""
NUM_RESTARTS = 3
"""Number of cosine cycles."""


def _warm_up(num_steps: int) -> optax.Schedule:
    """Linear to 1 over the first tenth."""
    length = max(1, round(WARM_UP * num_steps))
    return lambda count: jnp.minimum((count + 1) / length, 1.0)


def _times(*parts: Callable[[int], optax.Schedule]) -> Callable[[int], optax.Schedule]:
    def build(num_steps: int) -> optax.Schedule:
        schedules = [part(num_steps) for part in parts]

        def factor(count):
            product = 1.0
            for schedule in schedules:
                product = product * schedule(count)
            return product

        return factor

    return build


def _cosine(num_steps: int) -> optax.Schedule:
    """From 1 at the first step to 0 after the last (1608.03983, one cycle)."""
    return optax.cosine_decay_schedule(1.0, num_steps)


def _linear(num_steps: int) -> optax.Schedule:
    return optax.linear_schedule(1.0, 0.0, num_steps)


def _cosine_restarts(num_steps: int) -> optax.Schedule:
    """Three cosine cycles, each twice as long as the one before (1608.03983 with T_mult 2)."""
    unit = num_steps / (2**NUM_RESTARTS - 1)
    ends = [round(unit * (2 ** (index + 1) - 1)) for index in range(NUM_RESTARTS)]
    starts = [0, *ends[:-1]]
    cycles = [optax.cosine_decay_schedule(1.0, max(1, end - start)) for start, end in zip(starts, ends, strict=True)]
    return optax.join_schedules(cycles, ends[:-1])


def _cool_down(num_steps: int) -> optax.Schedule:
    """1, then linear to 0 over the last fifth."""
    length = max(1, round(COOL_DOWN * num_steps))
    return lambda count: jnp.minimum((num_steps - count) / length, 1.0)


SCHEDULES: dict[str, Callable[[int], optax.Schedule]] = {
    "cosine": _cosine,
    "cosine_restarts": _cosine_restarts,
    "linear": _linear,
    "trapezoidal": _times(_warm_up, _cool_down),
    "warmup": _warm_up,
    "warmup_cosine": _times(_warm_up, _cosine),
    "warmup_linear": _times(_warm_up, _linear),
}
"""Name -> (number of steps of a run -> optax schedule of the factor). "constant" is no schedule."""


def scheduled(rate: Any, schedule: str, num_steps: int) -> Any:
    """`rate` itself for "constant", otherwise a function of the number of steps taken. `rate` may be traced."""
    if schedule == "constant":
        return rate
    factor = SCHEDULES[schedule](num_steps)
    return lambda count: rate * factor(count)
