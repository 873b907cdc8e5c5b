"""A learned optimizer that compiles in no time, and learns."""

import dataclasses

import jax.numpy as jnp
import optax

import velo


@dataclasses.dataclass(frozen=True)
class LearnedRate(velo.LearnedOptimizer):
    """Adam with a learned rate."""

    def init(self, key):
        return jnp.float32(0.01)

    def bind(self, theta, num_steps):
        return optax.with_extra_args_support(optax.adam(theta))
