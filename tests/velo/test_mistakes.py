"""The mistakes that a newcomer is most likely to make: each error says what to do."""

import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import velo
from tests.velo.probe import Probe
from velo import requirements
from velo.extras import require
from velo.transformation import check_count

WEIGHTS = (Probe(), jnp.float32(0.1))
PARAMS = {"a": jnp.ones((3, 4)), "b": jnp.ones(4)}
ADAM = optax.adam(0.1)


@pytest.fixture(scope="module")
def tx():
    return velo.optimizer(10, WEIGHTS)


def quadratic(params, batch):
    return sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(params)) * jnp.mean(batch)


def fit(batches, num_steps=12, loss=quadratic, **options):
    return velo.fit(loss, PARAMS, batches, num_steps, tx=ADAM, progress=False, **options)


def test_no_value(tx):
    with pytest.raises(ValueError, match=r"call tx.update\(grads, state, params, value=loss\)"):
        tx.update(PARAMS, tx.init(PARAMS), PARAMS)


def test_no_num_steps():
    with pytest.raises(TypeError, match="num_steps"):
        velo.optimizer()
    with pytest.raises(ValueError, match="num_steps has to be at least 1, got 0"):
        velo.optimizer(0, WEIGHTS)
    with pytest.raises(ValueError, match=r"num_steps has to be a Python integer, a number of steps, got 'my.velo'"):
        check_count("num_steps", "my.velo")
    with pytest.raises(ValueError, match="num_steps has to be at least 1, got 0"):
        fit([1.0], num_steps=0)


def test_wrong_tree(tx):
    state = tx.init(PARAMS)
    for grads, found in [
        ({"a": PARAMS["a"]}, r"\['b'\] they have none"),
        (PARAMS | {"b": jnp.ones(5)}, r"shape \(5,\)"),
    ]:
        with pytest.raises(ValueError, match=f"gradients have to be a tree like the parameters: at .*{found}"):
            tx.update(grads, state, PARAMS, value=1.0)


def test_integer_parameters(tx):
    with pytest.raises(ValueError, match=r"\['table'\] has dtype int32.*freeze it with optax.masked"):
        velo.fit(quadratic, {"table": np.arange(3, dtype=np.int32)}, [1.0], 3, weights=WEIGHTS, progress=False)


def test_nan_loss():
    batches = [1.0] * 5 + [np.nan] * 20
    with pytest.raises(velo.NonFiniteLossError, match=r"the loss is nan since step 6: .*jax_debug_nans") as caught:
        fit(batches, 25)
    assert caught.value.fitted.history.losses[4] > 0.0
    fit([1.0] * 5 + [np.inf], 6)  # a few are survived


def test_steps_beyond_num_steps():
    done = fit([1.0], 3)
    with pytest.raises(ValueError, match="all 3 steps of that run are done: to train on, start a new run"):
        fit([1.0], 3, resume=done)


def test_other_jax_version():
    requirements.check(["jax>=0.6", "numpy>=2.0", 'ray>=9; extra == "meta-train"'], lambda name: "2.0.1rc1")
    with pytest.raises(ImportError, match=r"velo needs jax 0.10 or newer, found 0.9.2: pip install -U 'jax>=0.10'"):
        requirements.check(["jax>=0.10"], lambda name: "0.9.2")


def test_weights_file_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"no weights file {tmp_path}/a.velo.*velo-meta-train writes"):
        velo.optimizer(10, tmp_path / "a.velo")


def test_batch_iterator_exhausted():
    with pytest.raises(ValueError, match=r"batches ended after 5 of 12 steps: pass a list.*or train for num_steps=5"):
        fit(iter([1.0] * 5))


def test_changing_shapes(tx):
    state = tx.init(PARAMS)
    with pytest.raises(ValueError, match=r"state was made for parameters of other shapes: call tx.init\(params\) anew"):
        tx.update({"a": jnp.ones((50, 9))}, state, {"a": jnp.ones((50, 9))}, value=1.0)
    with pytest.raises(ValueError, match=r"has to be what tx.init\(params\) returned, got dict"):
        tx.update(PARAMS, {}, PARAMS, value=1.0)
    with pytest.warns(UserWarning, match="5 different shapes within 5 steps.*drop a smaller last batch"):
        fit([np.ones(size) for size in range(1, 8)], 7)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit([np.ones(8), np.ones(3)], 4)


def test_missing_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"a picture needs matplotlib: pip install 'velo\[fit\]'"):
        require("matplotlib.figure", "fit", "a picture")
    with pytest.raises(ModuleNotFoundError, match="pip install"):
        fit([1.0], 2).history.plot()
