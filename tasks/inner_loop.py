"""The inner training loop that meta-training and evaluation share; its callers jit it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tasks import prng
from tasks.family import Data, Draw, Params, TaskFamily
from velo.shapes import Array, Float, Int, PRNGKeyArray


class InnerState(NamedTuple):
    """What a run carries from step to step."""

    params: Params
    opt_state: Any
    step: Int[Array, ""]


def start(family: TaskFamily, tx: optax.GradientTransformation, draw: Draw, key: PRNGKeyArray) -> InnerState:
    """The state of a run before its first step."""
    params = family.init(draw, key)
    tx = family.wrap_optimizer(draw, tx)
    return InnerState(params, tx.init(params), jnp.zeros((), jnp.int32))


def train(
    family: TaskFamily,
    tx: optax.GradientTransformation,
    draw: Draw,
    state: InnerState,
    data: Data,
    key: PRNGKeyArray,
    *,
    num_steps: int,
    evaluation_params: Callable[[Any, Params], Params] | None = None,
) -> tuple[InnerState, Float[Array, " num_steps"]]:
    """Runs `num_steps` further inner steps; returns the state after them and the training loss before each.

    The batch and the noise of a step depend only on `key` and on the step's number, so that a run in segments equals a
    single run bit for bit. The optimizer gets the loss as `value`, and the step's loss function as `obj_fn`: methods
    such as `optax.contrib.sophia` evaluate it at other points.

    Args:
        evaluation_params: (optimizer state, parameters) -> the parameters that the optimizer would return. Give it
            for an optimizer that takes gradients at other parameters than those. The losses are then those of the
            returned parameters, on the same batches.
    """
    tx = optax.with_extra_args_support(family.wrap_optimizer(draw, tx))

    def step(state: InnerState, _):
        key_batch, key_loss = prng.split(prng.fold_in(key, state.step))
        batch = family.batch(data, key_batch)
        draw_now = family.draw_at(draw, state.step)

        def objective(params):
            return family.loss(draw_now, params, batch, key_loss)

        loss, grads = jax.value_and_grad(objective)(state.params)
        updates, opt_state = tx.update(grads, state.opt_state, state.params, value=loss, obj_fn=objective)
        params = optax.apply_updates(state.params, updates)
        if evaluation_params is not None:
            loss = objective(evaluation_params(state.opt_state, state.params))
        return InnerState(params, opt_state, state.step + 1), loss

    return jax.lax.scan(step, state, length=num_steps)


def mean_loss(
    family: TaskFamily, draw: Draw, params: Params, data: Data, key: PRNGKeyArray, *, num_batches: int
) -> Float[Array, ""]:
    """Average loss over `num_batches` fresh batches of `data`, without training."""

    def one(key):
        key_batch, key_loss = jax.random.split(key)
        return family.loss(draw, params, family.batch(data, key_batch), key_loss)

    return jnp.mean(jax.lax.map(one, jax.random.split(key, num_batches)))
