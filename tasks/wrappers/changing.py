"""Tasks whose batch size, gradient or data change during training."""

import dataclasses

import jax
import jax.numpy as jnp

from tasks import prng
from tasks.wrappers.reduced_batch import ReducedBatch
from tasks.wrappers.wrapper import Wrapper, WrapperDraw, with_gradient


@dataclasses.dataclass(frozen=True)
class ChangingBatch(ReducedBatch):
    """Before `change_step`, fills each batch with its first examples, a share of `min_share`; then leaves it whole."""

    change_step: int = 500

    def draw_at(self, draw, step):
        draw = super().draw_at(draw, step)
        return draw._replace(strength=jnp.where(step < self.change_step, self.min_share, 1.0))


@dataclasses.dataclass(frozen=True)
class SilentStart(Wrapper):
    """The gradient is zero in the first `silent_steps` steps."""

    silent_steps: int = 1000

    def __post_init__(self):
        if self.silent_steps < 1:
            raise ValueError(f"SilentStart: silent_steps must be at least 1, got {self.silent_steps}")

    def draw_strength(self, key):
        """The factor on the gradient after the silent steps: one."""
        return jnp.ones(())

    def draw_at(self, draw, step):
        draw = super().draw_at(draw, step)
        return draw._replace(strength=jnp.where(step < self.silent_steps, 0.0, 1.0))

    def loss(self, draw, params, batch, key):
        frozen = jax.lax.stop_gradient(params)
        loss, grads = jax.value_and_grad(self.family.loss, argnums=1)(draw.inner, frozen, batch, key)
        return with_gradient(loss, params, jax.tree.map(lambda grad: draw.strength * grad, grads))


@dataclasses.dataclass(frozen=True)
class ChangingData(Wrapper):
    """Takes another draw of the family, such as another teacher, every `phase_steps` steps, `num_phases` draws in all.

    The parameters are kept: continual learning.
    """

    num_phases: int = 4
    phase_steps: int = 250

    def __post_init__(self):
        for name in ("num_phases", "phase_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"ChangingData: {name} must be at least 1, got {getattr(self, name)}")

    def draw_strength(self, key):
        """The draws of all phases, along a leading axis."""
        return jax.vmap(self.family.draw)(prng.split(key, self.num_phases))

    def draw(self, key):
        phases = self.draw_strength(key)
        return WrapperDraw(jax.tree.map(lambda leaf: leaf[0], phases), phases)

    def draw_at(self, draw, step):
        phase = jnp.minimum(step // self.phase_steps, self.num_phases - 1)
        inner = jax.tree.map(
            lambda leaf: jax.lax.dynamic_index_in_dim(leaf, phase, keepdims=False), draw.strength
        )  # fmt: skip
        return draw._replace(inner=self.family.draw_at(inner, step))
