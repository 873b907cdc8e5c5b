"""Smaller batches in the same program: the first examples of a batch, repeated."""

import dataclasses

import jax
import jax.numpy as jnp

from tasks import prng
from tasks.wrappers.wrapper import Wrapper


@dataclasses.dataclass(frozen=True)
class ReducedBatch(Wrapper):
    """Fills each batch with its first examples, repeated; their share is log-uniform in [`min_share`, 1]."""

    min_share: float = 0.1

    def __post_init__(self):
        if not 0 < self.min_share <= 1:
            raise ValueError(f"ReducedBatch: min_share must be in (0, 1], got {self.min_share}")

    def draw_strength(self, key):
        """The share of a batch that is kept."""
        return self.min_share ** prng.uniform(key)

    def loss(self, draw, params, batch, key):
        num_examples = len(jax.tree.leaves(batch)[0])
        num_kept = jnp.maximum(jnp.round(draw.strength * num_examples), 1.0).astype(jnp.int32)
        rows = jnp.arange(num_examples) % num_kept
        return self.family.loss(draw.inner, params, jax.tree.map(lambda array: array[rows], batch), key)
