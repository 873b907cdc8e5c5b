"""Adapters from our optimizers to those of `learned_optimization` and back, by duck typing.

That package is never imported. If a program has imported it, ours are registered with its abstract classes, which some
of its wrappers check. `tasks.bridge` adapts its tasks.
"""

import dataclasses
import inspect
import logging
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from velo.learned_optimizer import LearnedOptimizer, Theta, check_update_arguments
from velo.shapes import Int

logger = logging.getLogger(__name__)


def _register(cls: type, module: str, name: str) -> None:
    """Makes `cls` a virtual subclass of an abstract class, if the module that holds it has been imported."""
    base = getattr(sys.modules.get(module), name, None)
    if base is not None and not issubclass(cls, base):
        base.register(cls)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BridgedState:
    """The state of a run in `learned_optimization`, which prescribes the field names and `replace`."""

    params: Any
    state: Any  # of the model: passed through, never read
    optax_opt_state: Any
    iteration: Any  # int32 scalars
    num_steps: Any

    def replace(self, **changes: Any) -> "BridgedState":
        """The state with other values for these fields."""
        return dataclasses.replace(self, **changes)


class BridgedOptimizer:
    """A learned optimizer behind the interface of `learned_optimization.optimizers.base.Optimizer`.

    It is an instance of that class if `learned_optimization.optimizers` was imported before it was created.
    """

    def __init__(self, optimizer: LearnedOptimizer, theta: Theta):
        _register(type(self), "learned_optimization.optimizers.base", "Optimizer")
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
        return opt_state.replace(
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
        return state.replace(params=params)


class BridgedLearnedOptimizer:
    """An architecture behind the interface of `learned_optimization`'s LearnedOptimizer, to be meta-trained there."""

    def __init__(self, optimizer: LearnedOptimizer):
        _register(type(self), "learned_optimization.learned_optimizers.base", "LearnedOptimizer")
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


class TransformationState(NamedTuple):
    """The state of a transformation that `from_learned_optimization` returns."""

    opt_state: Any
    count: Int[jax.Array, ""]
    num_nonfinite: Int[jax.Array, ""]
    """Updates so far with an entry that was not finite."""


def from_learned_optimization(optimizer: Any, num_steps: int) -> optax.GradientTransformationExtraArgs:
    """An optimizer of `learned_optimization` as an optax transformation.

    The optimizer needs the methods `init`, `update`, `get_params` and `set_params`. An update is the difference between
    its new parameters and `params`, which costs one rounding. Its state holds a copy of the parameters; before each
    step, `params` replaces that copy. A loss is passed on if there is one. An optimizer that takes a key gets the one
    passed to `update`, or one derived from the step's number. The model state stays None.

    The first non-finite update of a run is logged as a warning; the state counts all of them.

    Raises:
        ValueError: `update` raises it if `params` is missing.
    """
    name = getattr(optimizer, "name", type(optimizer).__name__)
    init_takes_key, update_takes_key = (
        "key" in inspect.signature(method).parameters for method in (optimizer.init, optimizer.update)
    )

    def keys(step):
        return jax.random.fold_in(jax.random.PRNGKey(0), step)

    def report(is_first, count):
        if is_first:
            logger.warning("%s: update %d of the run is not finite", name, count)

    def init(params):
        options = {"key": keys(num_steps)} if init_takes_key else {}
        zero = jnp.zeros((), jnp.int32)
        return TransformationState(optimizer.init(params, num_steps=num_steps, **options), zero, zero)

    def update(updates, state, params=None, *, value=None, key=None, **extra_args):
        del extra_args
        if params is None:
            raise ValueError("call tx.update(grads, state, params)")
        options = {"key": keys(state.count) if key is None else key} if update_takes_key else {}
        opt_state = optimizer.set_params(state.opt_state, params)
        opt_state = optimizer.update(opt_state, updates, loss=value, **options)
        steps = jax.tree.map(lambda new, old: new - old, optimizer.get_params(opt_state), params)
        finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(steps)]
        is_broken = ~jnp.all(jnp.stack(finite)) if finite else jnp.asarray(False)
        count, num_nonfinite = state.count + 1, state.num_nonfinite + is_broken
        is_first = is_broken & (state.num_nonfinite == 0)
        jax.lax.cond(is_first, lambda: jax.debug.callback(report, is_first, count), lambda: None)
        return steps, TransformationState(opt_state, count, num_nonfinite)

    return optax.GradientTransformationExtraArgs(init, update)
