"""Recurrent cells, scanned over time."""

import jax
import jax.numpy as jnp

from tasks.families import layers
from velo.shapes import Array, Float

CELLS = {"vanilla": 1, "irnn": 1, "gru": 3, "lstm": 4}
"""Number of kernels of a cell, each as wide as its state.

- `vanilla` has tanh.
- `irnn` has relu, and its state kernel starts at the identity (Le et al. 2015).
- `gru` is Cho et al. 2014, with the reset gate after the product with the kernel.
- `lstm` is Hochreiter and Schmidhuber 1997 with a forget gate, whose bias starts at one.
"""


def cell_shapes(name: str, cell: str, input_size: int, width: int) -> dict[str, tuple[int, int]]:
    """Shapes of the dense layers of a cell, for `layers.init_layers`."""
    return {f"{name}_input": (input_size, CELLS[cell] * width), f"{name}_state": (width, CELLS[cell] * width)}


def adjust_init(params: dict, name: str, cell: str) -> dict:
    """The parameters with the identity as the state kernel of an irnn, and a forget bias of one in an lstm."""
    state = params[f"{name}_state"]
    width = len(state["w"])
    if cell == "irnn":
        state = {"w": jnp.eye(width), "b": state["b"]}
    if cell == "lstm":
        state = {"w": state["w"], "b": state["b"].at[:width].set(1.0)}
    return params | {f"{name}_state": state}


def run(
    params: dict, name: str, cell: str, inputs: Float[Array, "time batch inputs"], start: dict[str, Array] | None = None
) -> Float[Array, "time batch width"]:
    """The state after every input; it starts from the vectors `hidden` and `memory` of `start`, or from zeros."""
    width = len(params[f"{name}_state"]["w"])
    projected = layers.dense(params[f"{name}_input"], inputs)
    zeros = jnp.zeros((inputs.shape[1], width), projected.dtype)

    def step(carry, x):
        hidden, memory = carry
        state = layers.dense(params[f"{name}_state"], hidden)
        if cell == "lstm":
            forget, enter, leave, candidate = jnp.split(x + state, 4, axis=-1)
            memory = jax.nn.sigmoid(forget) * memory + jax.nn.sigmoid(enter) * jnp.tanh(candidate)
            hidden = jax.nn.sigmoid(leave) * jnp.tanh(memory)
        elif cell == "gru":
            reset, update = jnp.split(jax.nn.sigmoid((x + state)[:, : 2 * width]), 2, axis=-1)
            candidate = jnp.tanh(x[:, 2 * width :] + reset * state[:, 2 * width :])
            hidden = update * hidden + (1.0 - update) * candidate
        elif cell == "irnn":
            hidden = jax.nn.relu(x + state)
        else:
            hidden = jnp.tanh(x + state)
        return (hidden, memory), hidden

    carry = (zeros, zeros) if start is None else (zeros + start["hidden"][None], zeros + start["memory"][None])
    return jax.lax.scan(step, carry, projected)[1]
