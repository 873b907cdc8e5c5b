"""The state of the LSTM over tensors, which VeLO and the published optimizers share."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from velo.learned_optimizer import Theta
from velo.shapes import Float


class LSTMState(NamedTuple):
    """The LSTM's state of every tensor."""

    hidden: Float[jax.Array, "tensors hidden"]
    cell: Float[jax.Array, "tensors hidden"]


def init_lstm(theta: Theta, num_tensors: int) -> LSTMState:
    """The learned initial state, the same for every tensor."""
    shape = (num_tensors, theta["initial_hidden"].shape[0])
    return LSTMState(
        jnp.broadcast_to(theta["initial_hidden"][None], shape), jnp.broadcast_to(theta["initial_cell"][None], shape)
    )
