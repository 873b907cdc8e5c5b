"""What VeLO carries from step to step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from velo.architectures.lstm import LSTMState, init_lstm
from velo.architectures.pages import Layout
from velo.architectures.velo import distance, eigenbasis, features, guard, passes, shards, tensor_inputs
from velo.architectures.velo.matrices import Plan
from velo.learned_optimizer import Theta
from velo.shapes import Float, Int


class State(NamedTuple):
    """Everything that VeLO carries from step to step. Pages hold one number per parameter."""

    step: Int[jax.Array, ""]
    unit: Float[jax.Array, ""]  # of the gradients (`unit.measure`); zero until the first non-zero gradient
    averages: passes.Averages  # in the coordinates of the basis
    initial_params: Float[jax.Array, "pages width"]  # in the original coordinates
    initial_size: Float[jax.Array, " tensors"]  # root mean square
    usual: guard.Usual
    distance: distance.Distance
    loss_history: features.LossHistory
    lstm: LSTMState
    basis: Any = ()  # eigenbasis.State if there is one


def start(
    theta: Theta, leaves: list[ArrayLike], layout: Layout, plan: Plan, initial_distance: float, *, has_basis: bool
) -> State:
    """The state before the first step.

    Args:
        leaves: the parameters, or a device's parts of them.
        layout: pages of these leaves.
        plan: matrices of these leaves.
    """
    initial = layout.pack([jnp.asarray(leaf) for leaf in leaves])
    squares = layout.total(layout.sum_by_tensor(jnp.sum(jnp.square(initial), axis=1)))
    return State(
        step=jnp.zeros((), jnp.int32),
        unit=jnp.zeros(()),
        averages=passes.Averages(tuple(layout.zeros() for _ in passes.MOMENTUM_DECAYS), layout.zeros(), layout.zeros()),
        initial_params=initial,
        initial_size=jnp.sqrt(squares / tensor_inputs.counts(layout)),
        usual=guard.init_usual(),
        distance=distance.init_distance(len(leaves), initial_distance),
        loss_history=features.init_loss_history(),
        lstm=init_lstm(theta["hypernetwork"], len(leaves)),
        # `optax.tree.map_params` calls `init` with a tree without tensors. The result has to be a prefix of any state.
        # The lengths of the tuples in the basis depend on the tensors, so one leaf stands for the whole basis there.
        basis=(eigenbasis.init(layout, plan) if leaves else jnp.zeros(())) if has_basis else (),
    )


def specs(division: shards.Division, *, has_basis: bool) -> Any:
    """Partition specs of the state: arrays of pages and of bases are split by device, all others replicated."""
    everywhere, by_device = division.everywhere, division.by_device
    return State(
        step=everywhere,
        unit=everywhere,
        averages=by_device,
        initial_params=by_device,
        initial_size=everywhere,
        usual=everywhere,
        distance=everywhere,
        loss_history=everywhere,
        lstm=everywhere,
        basis=eigenbasis.State(by_device, by_device, everywhere, by_device, everywhere) if has_basis else (),
    )
