"""Updates in float32 whatever `jax_enable_x64` says, with matrix products at the highest precision."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from velo.learned_optimizer import Theta, check_update_arguments

try:
    from jax.experimental import disable_x64  # pyright: ignore[reportAttributeAccessIssue]
except ImportError:  # newer versions of JAX
    disable_x64 = functools.partial(jax.enable_x64, False)


def transformation(
    init: Callable[[Any], Any], update: Callable[[Any, Any, Any, jax.Array], tuple[Any, Any]]
) -> optax.GradientTransformationExtraArgs:
    """An optax transformation of `init(params)` and `update(grads, state, params, loss)`.

    Neither sees float64: gradients, parameters and losses in float64 are cast to float32, and the updates are cast to
    the dtypes of the parameters. So the state keeps its dtypes, and no constant in the code needs an explicit dtype.
    (Under x64, JAX 0.6 lowers the integers of such a program as int64 and then refuses it; JAX 0.10 doesn't.)
    """

    def init_single(params):
        with disable_x64():
            return init(_single(params))

    def update_single(updates, state, params=None, *, value=None, **extra_args):
        del extra_args
        check_update_arguments(params, value)
        if not jax.tree.leaves(params):
            return updates, state
        arguments = _single((updates, params, jnp.asarray(value)))
        with disable_x64(), jax.default_matmul_precision("highest"):
            steps, state = update(arguments[0], state, *arguments[1:])
        return jax.tree.map(lambda step, leaf: step.astype(jnp.result_type(leaf)), steps, params), state

    return optax.GradientTransformationExtraArgs(init_single, update_single)


def initialization(init: Callable[[Any, Any], Theta]) -> Callable[[Any, Any], Theta]:
    """Decorates the method `init(self, key)` of an architecture: theta is then float32 under x64 too."""

    @functools.wraps(init)
    def init_single(self, key):
        with disable_x64():
            return init(self, key)

    return init_single


def _single(tree: Any) -> Any:
    """The tree with float32 in the place of float64."""
    return jax.tree.map(lambda x: x.astype(jnp.float32) if jnp.result_type(x) == jnp.float64 else x, tree)
