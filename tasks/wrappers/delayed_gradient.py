"""Gradients that arrive some steps late, as from asynchronous workers."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tasks import prng
from tasks.wrappers.wrapper import Wrapper
from velo.shapes import Array, Int


class DelayState(NamedTuple):
    """The gradients of the last steps."""

    history: Any  # max_steps + 1 gradients, newest first, along a leading axis


def delay(num_steps: Int[Array, ""], max_steps: int) -> optax.GradientTransformation:
    """Passes on the gradient of `num_steps` steps ago (at most `max_steps`), and zeros before the first one arrives."""

    def init(params):
        return DelayState(jax.tree.map(lambda leaf: jnp.zeros((max_steps + 1, *leaf.shape), leaf.dtype), params))

    def update(updates, state, params=None):
        history = jax.tree.map(
            lambda new, old: jnp.concatenate([new[None], old[:-1]]), updates, state.history
        )  # fmt: skip
        late = jax.tree.map(lambda old: jax.lax.dynamic_index_in_dim(old, num_steps, keepdims=False), history)
        return late, DelayState(history)

    return optax.GradientTransformation(init, update)


@dataclasses.dataclass(frozen=True)
class DelayedGradient(Wrapper):
    """Every gradient arrives 1 to `max_steps` steps late; the delay is drawn once per run."""

    max_steps: int = 8

    def __post_init__(self):
        if self.max_steps < 1:
            raise ValueError(f"DelayedGradient: max_steps must be at least 1, got {self.max_steps}")

    def draw_strength(self, key):
        """The delay in steps."""
        return 1 + jnp.floor(self.max_steps * prng.uniform(key)).astype(jnp.int32)

    def wrap_optimizer(self, draw, tx):
        return optax.chain(delay(draw.strength, self.max_steps), self.family.wrap_optimizer(draw.inner, tx))
