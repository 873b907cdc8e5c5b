"""The interface of a learned optimizer, which the bundled architectures implement, and your own can.

An implementation is static: sizes and choices. Its weights, theta, are a pytree that `init` makes and `bind` reads:

    @dataclasses.dataclass(frozen=True)
    class LearnedRate(velo.LearnedOptimizer):
        def init(self, key):
            return {"log_rate": jnp.log(jnp.float32(1e-3))}

        def bind(self, theta, num_steps):
            return optax.with_extra_args_support(optax.adam(jnp.exp(theta["log_rate"])))

    tx = velo.optimizer(num_steps=1000, weights=(LearnedRate(), theta))

`velo-meta-train laptop --optimizer my_module:LearnedRate` meta-trains it. `examples/own_optimizer.py` is a complete
example.
"""

import abc
from typing import Any

import jax
import optax

from velo.shapes import Int, PRNGKeyArray

Theta = Any
"""Meta-parameters: a pytree of float32 arrays."""


class LearnedOptimizer(abc.ABC):
    """The static half of a learned optimizer; `theta` is the other half.

    Implementations are frozen dataclasses, hashed by value. To be saved and meta-trained, their fields must be JSON
    scalars or tuples of them, and the class must be defined at the top level of a module.
    """

    @abc.abstractmethod
    def init(self, key: PRNGKeyArray) -> Theta:
        """Untrained meta-parameters.

        Args:
            key: all randomness of the initialisation.

        Returns:
            A pytree of float32 arrays, whose tree and shapes depend on the fields alone. Evolution strategies perturb
            every entry by the same standard deviation, so entries should be of order one.
        """

    @abc.abstractmethod
    def bind(self, theta: Theta, num_steps: int | Int[jax.Array, ""]) -> optax.GradientTransformationExtraArgs:
        """The optimizer with these weights for a run of `num_steps` inner steps.

        Must be traceable: meta-training calls it under `jax.jit` and `jax.vmap`, and `FullBackprop` differentiates it.

        Args:
            theta: of the tree, shapes and dtypes of `init`; may be traced.
            num_steps: scalar, at least 1; may be traced.

        Returns:
            An optax transformation. Its `update(grads, state, params, value=loss)` gets the parameters, and the scalar
            training loss at which `grads` was taken; it has to accept further keyword arguments. Updates have the
            tree, shapes and dtypes of `params`, and the state keeps its tree and shapes over updates.
        """


def check_update_arguments(params, value) -> None:
    """Checks that `params` and `value` were passed to an update.

    Raises:
        ValueError: one is missing; the message says what to pass.
    """
    if params is None:
        raise ValueError("a learned optimizer reads the parameters: call tx.update(grads, state, params, value=loss)")
    if value is None:
        raise ValueError("a learned optimizer reads the loss too: call tx.update(grads, state, params, value=loss)")
