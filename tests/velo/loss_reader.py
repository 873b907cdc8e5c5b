"""An optimizer that compiles at once and tells which losses it read, for tests of what calls it."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import velo


class Read(NamedTuple):
    losses: jax.Array  # [num_steps], zero where no step has been
    count: jax.Array


@dataclasses.dataclass(frozen=True)
class LossReader(velo.LearnedOptimizer):
    """p <- p - rate loss gradient."""

    def init(self, key):
        del key
        return jnp.float32(0.1)

    def bind(self, theta, num_steps):
        def init(params):
            del params
            return Read(jnp.zeros(num_steps), jnp.zeros((), jnp.int32))

        def update(updates, state, params=None, *, value=None, **extra_args):
            del params, extra_args
            read = Read(state.losses.at[state.count].set(value), state.count + 1)
            return jax.tree.map(lambda grad: (-theta * value * grad).astype(grad.dtype), updates), read

        return optax.GradientTransformationExtraArgs(init, update)


READER = (LossReader(), np.float32(0.1))


def losses_of(optimizer) -> list[float]:
    """What a `velo.torch.VeLO` with the weights `READER` has read so far."""
    read = optimizer._jax_state.learned
    return np.asarray(read.losses)[: int(read.count)].tolist()
