"""The parameter trees and training states of other libraries, trained for a few steps with `velo.optimizer`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from flax.training import train_state

import velo
from tests.velo.registry import ARCHITECTURES, theta_of

INPUTS = np.linspace(-1, 1, 24, dtype=np.float32).reshape(8, 3)
TARGETS = np.sin(INPUTS.sum(axis=1, keepdims=True))
NUM_STEPS = 5


@pytest.fixture(scope="module")
def tx():
    architecture = ARCHITECTURES["CeloAdam"]
    return velo.optimizer(NUM_STEPS, (architecture, theta_of(architecture)), weight_decay=1e-3, step_scale=100.0)


def mean_square(predictions):
    return jnp.mean(jnp.square(predictions - TARGETS))


def falls(losses):
    assert np.all(np.isfinite(losses))
    assert losses[-1] < losses[0]


def test_flax_nnx_optimizer(tx):
    model = nnx.Linear(3, 1, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        loss, grads = nnx.value_and_grad(lambda model: mean_square(model(INPUTS)))(model)
        optimizer.update(model, grads, value=loss)
        return loss

    falls([step(model, optimizer) for _ in range(NUM_STEPS)])


class TrainState(train_state.TrainState):
    """Flax's `apply_gradients` passes nothing on to the optimizer, so the loss gets a method of its own."""

    def apply_loss_and_gradients(self, loss, grads):
        updates, opt_state = self.tx.update(grads, self.opt_state, self.params, value=loss)
        params = optax.apply_updates(self.params, updates)
        return self.replace(step=self.step + 1, params=params, opt_state=opt_state)


def test_flax_linen_train_state(tx):
    model = linen.Dense(1)
    params = model.init(jax.random.key(0), INPUTS)
    state = TrainState.create(apply_fn=model.apply, params=params, tx=tx)

    @jax.jit
    def step(state):
        loss, grads = jax.value_and_grad(lambda params: mean_square(state.apply_fn(params, INPUTS)))(state.params)
        return state.apply_loss_and_gradients(loss, grads), loss

    losses = []
    for _ in range(NUM_STEPS):
        state, loss = step(state)
        losses.append(loss)
    falls(losses)
    with pytest.raises(ValueError, match="value=loss"):
        state.apply_gradients(grads=state.params)


def test_equinox_module(tx):
    equinox = pytest.importorskip("equinox")
    model = equinox.nn.Linear(3, 1, key=jax.random.key(0))
    state = tx.init(equinox.filter(model, equinox.is_inexact_array))

    @equinox.filter_jit
    def step(model, state):
        loss, grads = equinox.filter_value_and_grad(lambda model: mean_square(jax.vmap(model)(INPUTS)))(model)
        params = equinox.filter(model, equinox.is_inexact_array)
        updates, state = tx.update(grads, state, params, value=loss)
        return equinox.apply_updates(model, updates), state, loss

    losses = []
    for _ in range(NUM_STEPS):
        model, state, loss = step(model, state)
        losses.append(loss)
    falls(losses)


def test_haiku_parameters(tx):
    haiku = pytest.importorskip("haiku", exc_type=(ImportError, AttributeError))
    network = haiku.without_apply_rng(haiku.transform(lambda inputs: haiku.Linear(1)(inputs)))
    params = network.init(jax.random.key(0), INPUTS)
    train_in_tree(tx, params, network.apply)


def test_trees_like_haikus(tx):
    """Two levels of dicts, module name and parameter name."""
    params = {"linear": {"w": jnp.full((3, 1), 0.1), "b": jnp.zeros(1)}}
    train_in_tree(tx, params, lambda params, inputs: inputs @ params["linear"]["w"] + params["linear"]["b"][None])


def train_in_tree(tx, params, apply):
    state = tx.init(params)

    @jax.jit
    def step(params, state):
        loss, grads = jax.value_and_grad(lambda params: mean_square(apply(params, INPUTS)))(params)
        updates, state = tx.update(grads, state, params, value=loss)
        return optax.apply_updates(params, updates), state, loss

    losses = []
    for _ in range(NUM_STEPS):
        params, state, loss = step(params, state)
        losses.append(loss)
    falls(losses)
