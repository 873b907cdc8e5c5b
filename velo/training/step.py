"""One training step: the loss in its various forms, its gradient, and the update."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from velo.architectures.velo.distance import Distance
from velo.shapes import Float, Int


class TrainState(NamedTuple):
    """All that a run carries from step to step."""

    step: Int[jax.Array, ""]  # updates done
    params: Any
    opt_state: Any
    model_state: Any


class Outcome(NamedTuple):
    """What a step returns besides the new state."""

    loss: Float[jax.Array, ""]
    aux: Any
    step_size: Float[jax.Array, ""]  # root mean square of the update over all parameters
    distance: Float[jax.Array, ""] | None  # VeLO's estimate after the update; None for other optimizers


class Loss(NamedTuple):
    """A user's loss function in one form: (params, model_state, batch, key) -> loss, (model_state, aux).

    `fn` gets the parameters, then the model state if there is one, the batch, and a key if there is one.
    """

    fn: Callable[..., Any]
    has_aux: bool
    has_model_state: bool
    has_key: bool
    compute_dtype: Any

    def __call__(self, params, model_state, batch, key):
        arguments = [self._cast(params)]
        if self.has_model_state:
            arguments.append(model_state)
        arguments.append(self._cast(batch))
        if self.has_key:
            arguments.append(key)
        loss, new_state, aux = self._split(self.fn(*arguments))
        loss = _check_scalar(loss)
        if self.has_model_state:
            new_state = _like(new_state, model_state)
        return loss.astype(jnp.promote_types(loss.dtype, jnp.float32)), (new_state, aux)

    def _split(self, output):
        if not (self.has_aux or self.has_model_state):
            if isinstance(output, tuple):
                raise ValueError(
                    f"loss_fn returned {len(output)} things: pass has_aux=True for (loss, auxiliary output), "
                    "or model_state=... for (loss, new model state)"
                )
            return output, None, None
        form = "(loss, (model_state, aux))" if self.has_aux else "(loss, model_state)"
        if not self.has_model_state:
            form = "(loss, aux)"
        if not isinstance(output, tuple) or len(output) != 2:
            raise ValueError(f"loss_fn has to return {form}, got {type(output).__name__}")
        loss, rest = output
        if not self.has_model_state:
            return loss, None, rest
        if not self.has_aux:
            return loss, rest, None
        if not isinstance(rest, tuple) or len(rest) != 2:
            raise ValueError(f"loss_fn has to return {form}, got {type(rest).__name__} in the second place")
        return loss, *rest

    def _cast(self, tree):
        return tree if self.compute_dtype is None else cast_floating(tree, self.compute_dtype)


def cast_floating(tree: Any, dtype: Any) -> Any:
    """The tree with its floating-point leaves in `dtype`."""
    return jax.tree.map(lambda x: x.astype(dtype) if jnp.issubdtype(jnp.result_type(x), jnp.floating) else x, tree)


def _check_scalar(loss: Any) -> jax.Array:
    if not hasattr(loss, "dtype") and not isinstance(loss, int | float):
        raise ValueError(f"loss_fn has to return a scalar loss, got {type(loss).__name__}")
    loss = jnp.asarray(loss)
    if loss.shape != ():
        raise ValueError(f"loss_fn has to return a scalar loss, got shape {loss.shape}: take its mean")
    if not jnp.issubdtype(loss.dtype, jnp.floating):
        raise ValueError(f"loss_fn has to return a floating-point loss, got dtype {loss.dtype}")
    return loss


def _like(new: Any, old: Any) -> Any:
    """The new model state in the dtypes of the old, so that every step is the same program."""
    if jax.tree.structure(new) != jax.tree.structure(old):
        raise ValueError(
            f"loss_fn returned a model state of structure {jax.tree.structure(new)}, "
            f"but was given {jax.tree.structure(old)}"
        )
    return jax.tree.map(
        lambda x, y: x.astype(y.dtype) if jnp.issubdtype(jnp.result_type(y), jnp.floating) else x, new, old
    )


def make_step(
    loss: Loss, tx: optax.GradientTransformationExtraArgs, key: jax.Array | None
) -> Callable[[TrainState, Any], tuple[TrainState, Outcome]]:
    """The compiled step; its input state is donated."""

    def step(state: TrainState, batch: Any):
        key_step = None if key is None else jax.random.fold_in(key, state.step)
        (value, (model_state, aux)), grads = jax.value_and_grad(loss, has_aux=True)(
            state.params, state.model_state, batch, key_step
        )
        updates, opt_state = tx.update(grads, state.opt_state, state.params, value=value)
        params = optax.apply_updates(state.params, updates)
        outcome = Outcome(value, aux, _root_mean_square(updates), _estimate(opt_state))
        return TrainState(state.step + 1, params, opt_state, model_state), outcome

    return jax.jit(step, donate_argnums=0)


def _root_mean_square(updates: Any) -> Float[jax.Array, ""]:
    leaves = [jnp.asarray(leaf, jnp.float32) for leaf in jax.tree.leaves(updates)]
    num_entries = max(1, sum(leaf.size for leaf in leaves))
    return jnp.sqrt(sum((jnp.sum(jnp.square(leaf)) for leaf in leaves), jnp.float32(0.0)) / num_entries)


def _estimate(opt_state: Any) -> Float[jax.Array, ""] | None:
    """The distance estimate; the largest one if parts of the parameters have separate optimizers."""
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, Distance))
    estimates = [node.estimate for node in nodes if isinstance(node, Distance)]
    return jnp.max(jnp.stack(estimates)) if estimates else None
