"""Our optimizers as those of `learned_optimization` and the other way round, by their methods alone.

That package is never imported: an object is what its methods are. Its tasks come across in `tasks.bridge`.
"""

import inspect
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from velo.learned_optimizer import LearnedOptimizer, Theta, check_update_arguments
from velo.shapes import Int


class BridgedState(NamedTuple):
    """What `learned_optimization` carries through a run; the field names are its own."""

    params: Any
    state: Any  # of the model: handed through, never read
    optax_opt_state: Any
    iteration: Int[jax.Array, ""]
    num_steps: Int[jax.Array, ""]


class BridgedOptimizer:
    """A learned optimizer behind the interface of `learned_optimization.optimizers.base.Optimizer`."""

    def __init__(self, optimizer: LearnedOptimizer, theta: Theta):
        self.optimizer = optimizer
        self.theta = theta

    @property
    def name(self) -> str:
        """Name of the architecture's class."""
        return type(self.optimizer).__name__

    def init(self, params: Any, model_state: Any = None, num_steps: Any = None, key: Any = None) -> BridgedState:
        """The state of a new run.

        Raises:
            ValueError: `num_steps` is missing.
        """
        del key
        if num_steps is None:
            raise ValueError("a learned optimizer needs the length of the run: init(params, num_steps=...)")
        length = jnp.asarray(num_steps, jnp.int32)
        inner = self.optimizer.bind(self.theta, length).init(params)
        return BridgedState(params, model_state, inner, jnp.zeros((), jnp.int32), length)

    def update(
        self,
        opt_state: BridgedState,
        grad: Any,
        loss: Any = None,
        model_state: Any = None,
        key: Any = None,
        **kwargs: Any,
    ) -> BridgedState:
        """One step; `kwargs` (`is_valid` and the like) are ignored.

        Raises:
            ValueError: `loss` is missing.
        """
        del key, kwargs
        check_update_arguments(opt_state.params, loss)
        tx = self.optimizer.bind(self.theta, opt_state.num_steps)
        updates, inner = tx.update(grad, opt_state.optax_opt_state, opt_state.params, value=loss)
        return opt_state._replace(
            params=optax.apply_updates(opt_state.params, updates),
            state=model_state,
            optax_opt_state=inner,
            iteration=opt_state.iteration + 1,
        )

    def get_params(self, state: BridgedState) -> Any:
        """The parameters."""
        return state.params

    def get_state(self, state: BridgedState) -> Any:
        """The model's state."""
        return state.state

    def get_params_state(self, state: BridgedState) -> tuple[Any, Any]:
        """The parameters and the model's state."""
        return state.params, state.state

    def set_params(self, state: BridgedState, params: Any) -> BridgedState:
        """The state with these parameters in place of its own."""
        return state._replace(params=params)


class BridgedLearnedOptimizer:
    """An architecture behind the interface of `learned_optimization`'s LearnedOptimizer, to be meta-trained there."""

    def __init__(self, optimizer: LearnedOptimizer):
        self.optimizer = optimizer

    @property
    def name(self) -> str:
        """Name of the architecture's class."""
        return type(self.optimizer).__name__

    def init(self, key: Any) -> Theta:
        """Untrained meta-parameters."""
        return self.optimizer.init(key)

    def opt_fn(self, theta: Theta, is_training: bool = False) -> BridgedOptimizer:
        """The optimizer with these meta-parameters."""
        del is_training
        return BridgedOptimizer(self.optimizer, theta)


def from_learned_optimization(optimizer: Any, num_steps: int) -> optax.GradientTransformationExtraArgs:
    """One of its optimizers (`init`, `update`, `get_params`) as an optax transformation.

    The update is the difference of its parameters, which costs one rounding; its state holds a copy of the parameters,
    replaced by the ones given before every step. A loss is passed on if there is one. The model state stays None.
    """
    takes_key = "key" in inspect.signature(optimizer.update).parameters

    def init(params):
        return optimizer.init(params, num_steps=num_steps)

    def update(updates, state, params=None, *, value=None, key=None, **extra_args):
        del extra_args
        if params is None:
            raise ValueError("call tx.update(grads, state, params)")
        state = optimizer.set_params(state, params)
        options = {"key": key} if takes_key and key is not None else {}
        state = optimizer.update(state, updates, loss=value, **options)
        steps = jax.tree.map(lambda new, old: new - old, optimizer.get_params(state), params)
        return steps, state

    return optax.GradientTransformationExtraArgs(init, update)
