"""An average of the parameters along a run, for runs whose length is not known at their start."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from velo.shapes import Int
from velo.transformation import of_shapes

POWER = 8.0
"""Step k enters with weight proportional to about k^8: the last tenth of the steps makes up most of the average."""


class AveragedState(NamedTuple):
    """The state of `averaged`."""

    count: Int[jax.Array, ""]  # updates done
    mean: Any  # float32, in the tree of the parameters
    inner: Any


def averaged(tx: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """`tx`, whose state also holds an average of the parameters, which `averaged_params` returns at any time.

    The average replaces the decay at the end of a schedule. So make `tx` for more steps than the run will take, such as
    `velo.averaged(velo.optimizer(100_000))`, and stop at any step. docs/run_length.md gives the cost.

    Polynomial-decay averaging (1212.1824, section 4) of the parameters x_k after each update k = 1, 2, ...:
    mean_k = mean_{k-1} + 9 / (k + 8) (x_k - mean_{k-1}). The average takes four bytes per parameter.

    Raises:
        ValueError: `update` raises it if `params` is missing.
    """
    inner_tx = optax.with_extra_args_support(tx)

    def init(params):
        mean = jax.tree.map(lambda leaf: jnp.array(leaf, jnp.float32, copy=True), params)
        return AveragedState(jnp.zeros((), jnp.int32), mean, inner_tx.init(params))

    def update(updates, state, params=None, **extra_args):
        if params is None:
            raise ValueError("an average of the parameters needs them: call tx.update(grads, state, params, ...)")
        updates, inner = inner_tx.update(updates, state.inner, params, **extra_args)
        count = state.count + 1
        weight = (POWER + 1.0) / (count.astype(jnp.float32) + POWER)
        moved = optax.apply_updates(params, updates)
        mean = jax.tree.map(lambda old, leaf: old + weight * (leaf.astype(jnp.float32) - old), state.mean, moved)
        return updates, AveragedState(count, mean, inner)

    return of_shapes(optax.GradientTransformationExtraArgs(init, update))


def averaged_params(opt_state: Any, params: Any) -> Any:
    """The average in the state of a transformation that contains `averaged`, in the dtypes of `params`.

    Raises:
        ValueError: the state holds no such average, or several.
    """
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, AveragedState))
    found = [node for node in nodes if isinstance(node, AveragedState)]
    if len(found) != 1:
        raise ValueError(f"the state has {len(found)} averages of parameters: make the optimizer with velo.averaged")
    return jax.tree.map(lambda mean, leaf: mean.astype(jnp.result_type(leaf)), found[0].mean, params)
