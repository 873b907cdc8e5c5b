"""A per-parameter MLP over gradient, parameter and momenta (Metz et al. 2019; `MLPLOpt` of learned_optimization)."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tasks.families import layers
from velo.learned_optimizer import LearnedOptimizer, check_update_arguments
from velo.shapes import Array, Int

MOMENTUM_DECAYS = (0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)
STEP_TIMESCALES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5)
"""In steps."""
NUM_INPUTS = 2 + len(MOMENTUM_DECAYS) + len(STEP_TIMESCALES)
MULTIPLIER = 0.001


class State(NamedTuple):
    """Number of steps taken, and the momenta."""

    step: Int[Array, ""]
    momenta: tuple[Any, ...]  # a tree for each decay


@dataclasses.dataclass(frozen=True)
class LearnedMLP(LearnedOptimizer):
    """The MLP has two outputs for each parameter, a direction d and a log length l: the update is -.001 d e^(.001 l).

    Gradient, parameter and momenta are scaled to a mean square of one over each tensor. The step's number enters as
    tanh(step / timescale - 1).
    """

    width: int = 32
    depth: int = 2

    def init(self, key):
        sizes = [NUM_INPUTS, *[self.width] * self.depth, 2]
        return layers.init_layers(key, layers.stack("dense", sizes), "lecun_normal")

    def bind(self, theta, num_steps):
        def init(params):
            return State(jnp.zeros((), jnp.int32), tuple(jax.tree.map(jnp.zeros_like, params) for _ in MOMENTUM_DECAYS))

        def update(updates, state, params=None, *, value=None, **extra_args):
            check_update_arguments(params, value)
            momenta = tuple(
                jax.tree.map(lambda old, grad, decay=decay: decay * old + (1.0 - decay) * grad, momentum, updates)
                for momentum, decay in zip(state.momenta, MOMENTUM_DECAYS, strict=True)
            )
            times = jnp.tanh(state.step / jnp.array(STEP_TIMESCALES) - 1.0)

            def move(grad, weight, *averages):
                inputs = jnp.stack([grad, weight, *averages], axis=-1)
                axes = tuple(range(grad.ndim))
                inputs = inputs * jax.lax.rsqrt(jnp.mean(jnp.square(inputs), axis=axes, keepdims=True) + 1e-5)
                times_here = jnp.broadcast_to(times.reshape((1,) * grad.ndim + (-1,)), (*grad.shape, len(times)))
                inputs = jnp.concatenate([inputs, times_here], axis=-1)
                outputs = layers.mlp(theta, "dense", self.depth + 1, inputs, "relu")
                return -MULTIPLIER * outputs[..., 0] * jnp.exp(MULTIPLIER * outputs[..., 1])

            return jax.tree.map(move, updates, params, *momenta), State(state.step + 1, momenta)

        return optax.GradientTransformationExtraArgs(init, update)
