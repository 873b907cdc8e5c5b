"""The bridge to learned_optimization, in both directions, against small classes written to its protocol."""

import abc
import collections
import dataclasses
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import velo
from meta_train.estimators import FullES
from meta_train.task_problem import Episodes, TaskProblem
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
    """Its task family; the targets are sampled."""

    datasets = Task.datasets

    def sample(self, key):
        return jax.random.normal(key)

    def task_fn(self, sampled):
        task = Task()
        task.loss = lambda params, key, data: Task.loss(task, {"w": params["w"] - sampled}, key, data)
        return task


class Classes(Task):
    """As its parametric image tasks normalise: losses of 0 to log 20 become about -3 to 10."""

    def normalizer(self, loss):
        highest = np.log(20.0)
        return (jnp.clip(jnp.nan_to_num(loss, nan=highest, posinf=highest), 0, highest) - np.log(2)) * 10 / np.log(10)


class ClassesFamily(Family):
    def task_fn(self, sampled):
        return Classes()


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
    assert (int(state.count), int(state.num_nonfinite)) == (1, 0)
    with pytest.raises(ValueError, match="params"):
        tx.update(params, state)


class Noisy(SGD):
    """Needs a key in both methods, as its HyperV2 does."""

    def init(self, params, model_state=None, num_steps=None, key=None):
        assert key is not None
        return super().init(params, model_state, num_steps)

    def update(self, opt_state, grad, loss=None, model_state=None, key=None):
        return super().update(opt_state, {"w": jax.random.normal(key, (3,))}, loss)


def test_an_optimizer_that_needs_a_key_gets_another_at_every_step():
    tx = bridge.from_learned_optimization(Noisy(), num_steps=5)
    params = {"w": jnp.zeros(3)}
    state = tx.init(params)
    first, state = tx.update(params, state, params, value=1.0)
    second, _ = tx.update(params, state, params, value=1.0)
    given, _ = tx.update(params, state, params, value=1.0, key=jax.random.key(7))
    np.testing.assert_allclose(given["w"], -0.1 * jax.random.normal(jax.random.key(7), (3,)), rtol=1e-6)
    assert len({float(updates["w"][0]) for updates in (first, second, given)}) == 3


def test_an_update_that_is_not_finite_is_reported_once_and_counted(caplog):
    tx = bridge.from_learned_optimization(SGD(), num_steps=5)
    params = {"w": jnp.zeros(3)}
    grads = jnp.array([[0.0, 0.0, 1.0], [0.0, jnp.nan, 1.0], [jnp.inf, 0.0, 1.0]])

    def run(grads):
        def step(state, grad):
            return tx.update({"w": grad}, state, params)[1], ()

        return jax.lax.scan(step, tx.init(params), grads)[0]

    state = jax.jit(run)(grads)
    jax.effects_barrier()
    assert (int(state.count), int(state.num_nonfinite)) == (3, 2)
    assert caplog.messages == ["SGD: update 2 of the run is not finite"]
    caplog.clear()
    states = jax.jit(jax.vmap(run))(jnp.stack([grads[::-1], jnp.zeros((3, 3))]))
    jax.effects_barrier()
    assert states.num_nonfinite.tolist() == [2, 0]
    assert caplog.messages == ["SGD: update 1 of the run is not finite"]


class ItsOptimizer(abc.ABC):  # noqa: B024, as in its package
    """Stands in for its abstract class, by which its wrappers check what they are given."""


@pytest.fixture
def its_package(monkeypatch):
    for module, name in (("optimizers", "Optimizer"), ("learned_optimizers", "LearnedOptimizer")):
        fake = types.ModuleType("base")
        setattr(fake, name, ItsOptimizer)
        monkeypatch.setitem(sys.modules, f"learned_optimization.{module}.base", fake)


def test_ours_are_instances_of_its_classes_where_it_is_imported(ours, its_package):
    architecture, theta = ours
    assert isinstance(bridge.BridgedOptimizer(architecture, theta), ItsOptimizer)
    assert isinstance(bridge.BridgedLearnedOptimizer(architecture), ItsOptimizer)


def test_our_state_is_a_dataclass_whose_parameters_can_be_replaced(ours):
    """What its optax adapter and its grafting rely on: no parameters between two steps, and `replace`."""
    optimizer = bridge.BridgedOptimizer(*ours)
    params = {"w": jnp.ones(3)}
    state = optimizer.set_params(optimizer.init(params, num_steps=5), ())
    assert dataclasses.is_dataclass(state)
    assert jax.tree.leaves(state.params) == []
    moved = optimizer.update(optimizer.set_params(state, params), params, loss=1.0)
    expected = optimizer.update(optimizer.init(params, num_steps=5), params, loss=1.0)
    np.testing.assert_array_equal(moved.params["w"], expected.params["w"])
    assert moved.replace(params=params).params is params


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


def test_its_normalizer_is_its_own_and_never_less_for_a_worse_loss():
    family = BridgedFamily(Task(), reference=10.0)
    assert family.normalize(jnp.float32(1.0)) == 0.0
    assert family.normalize(jnp.float32(1e6)) == np.log(np.float32(1e6))
    assert family.normalize(jnp.float32(np.nan)) == family.normalize(jnp.float32(1e9)) == np.log(np.float32(1e7))
    assert family.reference_loss == 10.0


def test_a_task_without_a_normalizer_gets_ours():
    source = SGDTask()
    assert BridgedFamily(source, reference=2.0).normalize(jnp.float32(2.0)) == 0.0
    assert BridgedFamily(source).normalize(jnp.float32(np.nan)) == 1.5


class SGDTask:
    datasets = None

    def init(self, key):
        return jnp.zeros(3)

    def loss(self, params, key, data):
        return jnp.sum(params)


@pytest.mark.parametrize("source", [Classes(), ClassesFamily()], ids=["task", "family"])
def test_losses_on_its_scale_give_a_meta_gradient(source):
    """The normalised losses start at 3 or more; our clip at 1.5 used to make all of them equal."""
    problem = TaskProblem(BridgedFamily(source), LearnedRate(), Episodes(2, 2, 2))
    estimate, _ = jax.jit(FullES(num_pairs=2).estimate, static_argnums=0)(
        problem, {"rate": jnp.float32(0.01)}, (), problem.data(), jax.random.key(0)
    )
    assert estimate.loss > 1.5
    assert estimate.grad["rate"] != 0.0


@dataclasses.dataclass(frozen=True)
class LearnedRate(velo.LearnedOptimizer):
    def init(self, key):
        return {"rate": jnp.float32(0.01)}

    def bind(self, theta, num_steps):
        return optax.with_extra_args_support(optax.sgd(theta["rate"]))


def test_what_is_no_task_is_named():
    with pytest.raises(ValueError, match=r"object has no \['init', 'loss'\]"):
        BridgedFamily(object())
    with pytest.raises(ValueError, match="num_batches"):
        BridgedFamily(Task(), num_batches=0)


def test_velo_exports_the_bridge():
    assert velo.bridge is bridge
