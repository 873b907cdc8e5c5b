"""A learned optimizer that compiles in no time, for tests of what stands around one."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

import velo


class ProbeState(NamedTuple):
    total: jax.Array
    step: jax.Array


@dataclasses.dataclass(frozen=True)
class Probe(velo.LearnedOptimizer):
    """Steps along the sum of gradients times losses, at a rate that decays over the run. Compiles quickly."""

    def init(self, key):
        del key
        return jnp.float32(0.3)

    def bind(self, theta, num_steps):
        def init(params):
            return ProbeState(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), params), jnp.zeros((), jnp.int32))

        def update(grads, state, params=None, *, value=None, **extra_args):
            del extra_args
            total = jax.tree.map(lambda sum_, grad: sum_ + grad * jnp.asarray(value, jnp.float32), state.total, grads)
            rate = theta * jnp.maximum(1.0 - state.step / num_steps, 0.0)
            updates = jax.tree.map(lambda sum_, leaf: (-rate * sum_).astype(leaf.dtype), total, params)
            return updates, ProbeState(total, state.step + 1)

        return optax.GradientTransformationExtraArgs(init, update)
