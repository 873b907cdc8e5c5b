"""The bridge to learned_optimization, in both directions, against small classes written to its protocol."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import velo
from tasks.bridge import BridgedFamily
from tasks.inner_loop import start, train
from tests.velo.registry import ARCHITECTURES, theta_of
from velo import bridge

Datasets = collections.namedtuple("Datasets", "train inner_valid outer_valid test")
SGDState = collections.namedtuple("SGDState", "params state")


def batches(seed):
    random = np.random.default_rng(seed)
    while True:
        yield {"x": random.standard_normal((4, 3)).astype(np.float32)}


class Task:
    """Least squares to a target of ones, in its protocol without a model state."""

    datasets = Datasets(*(batches(seed) for seed in range(4)))

    def init(self, key):
        return {"w": jax.random.normal(key, (3,))}

    def loss(self, params, key, data):
        del key
        return jnp.mean(jnp.square(data["x"] @ (params["w"] - 1.0)))

    def normalizer(self, loss):
        return jnp.log(loss)


class StatefulTask(Task):
    """The same with a model state, which its loss reads and returns changed."""

    def init_with_state(self, key):
        return self.init(key), {"scale": jnp.float32(2.0)}

    def loss_with_state(self, params, state, key, data):
        return state["scale"] * self.loss(params, key, data), {"scale": state["scale"] + 1.0}


class Family:
    """Its targets are sampled."""

    datasets = Task.datasets

    def sample(self, key):
        return jax.random.normal(key)

    def task_fn(self, sampled):
        task = Task()
        task.loss = lambda params, key, data: Task.loss(task, {"w": params["w"] - sampled}, key, data)
        return task


class SGD:
    """Its optimizer interface."""

    def init(self, params, model_state=None, num_steps=None, key=None):
        assert num_steps == 5
        return SGDState(params, model_state)

    def update(self, opt_state, grad, loss=None, model_state=None, key=None):
        params = jax.tree.map(lambda leaf, g: leaf - 0.1 * g, opt_state.params, grad)
        return SGDState(params, model_state)

    def get_params(self, state):
        return state.params

    def set_params(self, state, params):
        return state._replace(params=params)


@pytest.fixture(scope="module")
def ours():
    architecture = ARCHITECTURES["CeloAdam"]
    return architecture, theta_of(architecture)


def test_our_optimizer_in_its_loop(ours):
    architecture, theta = ours
    optimizer = bridge.BridgedLearnedOptimizer(architecture).opt_fn(theta)
    task = StatefulTask()
    params, model_state = task.init_with_state(jax.random.key(0))
    state = jax.jit(lambda params: optimizer.init(params, model_state, num_steps=5))(params)

    @jax.jit
    def step(state, batch, key):
        params, model_state = optimizer.get_params_state(state)
        graded = jax.value_and_grad(task.loss_with_state, has_aux=True)
        (loss, model_state), grad = graded(params, model_state, key, batch)
        return optimizer.update(state, grad, loss=loss, model_state=model_state, key=key, is_valid=False), loss

    tx = architecture.bind(theta, 5)
    expected, inner = params, tx.init(params)
    for number in range(3):
        batch = next(task.datasets.train)
        grads = jax.grad(lambda p, b=batch, n=number: (2.0 + n) * task.loss(p, None, b))(expected)
        state, loss = step(state, batch, jax.random.key(number))
        updates, inner = tx.update(grads, inner, expected, value=loss)
        expected = optax.apply_updates(expected, updates)
        np.testing.assert_allclose(optimizer.get_params(state)["w"], expected["w"], rtol=1e-5)
    assert optimizer.get_state(state)["scale"] == 5.0
    assert int(state.iteration) == 3
    assert optimizer.get_params(optimizer.set_params(state, params)) is params
    assert optimizer.name == "CeloAdam"


def test_our_theta_is_made_there_too(ours):
    architecture, _ = ours
    theta = bridge.BridgedLearnedOptimizer(architecture).init(jax.random.key(1))
    assert jax.tree.structure(theta) == jax.tree.structure(architecture.init(jax.random.key(1)))


def test_what_is_missing_is_named(ours):
    optimizer = bridge.BridgedOptimizer(*ours)
    with pytest.raises(ValueError, match="num_steps"):
        optimizer.init({"w": jnp.zeros(3)})
    state = optimizer.init({"w": jnp.zeros(3)}, num_steps=5)
    with pytest.raises(ValueError, match="value=loss"):
        optimizer.update(state, {"w": jnp.zeros(3)})


def test_its_optimizer_as_a_transformation():
    tx = bridge.from_learned_optimization(SGD(), num_steps=5)
    params = {"w": jnp.arange(3.0)}
    state = tx.init(params)
    updates, state = jax.jit(tx.update)(params, state, params, value=1.0, other=2)
    np.testing.assert_allclose(updates["w"], -0.1 * params["w"], rtol=1e-5)
    with pytest.raises(ValueError, match="params"):
        tx.update(params, state)


@pytest.mark.parametrize("source", [Task(), StatefulTask(), Family()], ids=lambda source: type(source).__name__)
def test_its_tasks_train_in_our_loop(source):
    family = BridgedFamily(source, num_batches=3)
    data, valid = family.load()
    assert jax.tree.map(jnp.shape, data) == {"x": (3, 4, 3)} == jax.tree.map(jnp.shape, valid)
    key = jax.random.key(0)
    draw = family.draw(key)
    tx = optax.sgd(0.05)
    state = start(family, tx, draw, key)
    _, losses = jax.jit(lambda state, data: train(family, tx, draw, state, data, key, num_steps=30))(state, data)
    assert losses.shape == (30,)
    assert losses[-1] < 0.2 * losses[0]


def test_its_normalizer_is_bounded():
    family = BridgedFamily(Task())
    assert family.normalize(jnp.float32(1.0)) == 0.0
    assert family.normalize(jnp.float32(np.nan)) == family.normalize(jnp.float32(1e9)) == 1.5
    assert family.reference_loss == 1.0


def test_what_is_no_task_is_named():
    with pytest.raises(ValueError, match=r"object has no \['init', 'loss'\]"):
        BridgedFamily(object())
    with pytest.raises(ValueError, match="num_batches"):
        BridgedFamily(Task(), num_batches=0)


def test_velo_exports_the_bridge():
    assert velo.bridge is bridge
