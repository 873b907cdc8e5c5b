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
from velo import requirements, transformation
from velo.arguments import check_count, check_loss, check_not_negative, check_positive
from velo.extras import require
from velo.transformation import resolve_weights

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
    with pytest.raises(ValueError, match=r"\['table'\] has dtype int32.*freeze it: optax.partition"):
        velo.fit(quadratic, {"table": np.arange(3, dtype=np.int32)}, [1.0], 3, weights=WEIGHTS, progress=False)


def test_nan_loss():
    batches = [1.0] * 5 + [np.nan] * 20
    with pytest.raises(velo.NonFiniteLossError, match=r"the loss is nan since step 6: .*jax_debug_nans") as caught:
        fit(batches, 25)
    assert caught.value.fitted.history.losses[4] > 0.0
    fit([1.0] * 5 + [np.inf], 6)  # a few are survived


def test_steps_beyond_num_steps():
    done = fit([1.0], 3)
    with pytest.raises(ValueError, match="all 3 steps of that run are done: to train on, give a larger num_steps"):
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
    with pytest.warns(UserWarning, match="batch 2 has fewer examples.*compiled again.*drop_last=True") as told:
        fit([np.ones(8), np.ones(3), np.ones(2)], 4)
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit([np.ones((8, 5)), np.ones((8, 3))], 4)


@pytest.mark.parametrize(
    ("before", "after"), [((3, 4), (3, 5)), ((3, 4), (4, 3)), ((20,), (20, 1)), ((), (1,)), ((7, 9), (9, 8))]
)
def test_changing_shapes_within_a_page(tx, before, after):
    """The state's arrays have the same shapes for both trees; the mistake is found even in a traced update."""
    state = tx.init({"a": jnp.ones(before)})
    params = {"a": jnp.ones(after)}
    with pytest.raises(ValueError, match=r"state was made for parameters of other shapes: call tx.init\(params\) anew"):
        jax.jit(tx.update)(params, state, params, value=1.0)


def test_missing_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"a picture needs matplotlib: pip install 'velo\[fit\]'"):
        require("matplotlib.figure", "fit", "a picture")
    with pytest.raises(ModuleNotFoundError, match="pip install"):
        fit([1.0], 2).history.plot()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (jnp.ones(8), r"value has to be the scalar loss, got shape \(8,\): take its mean"),
        (jnp.ones((1,)), r"value has to be the scalar loss, got shape \(1,\)"),
        ("low", "value has to be a number, a scalar, got 'low'"),
        (1j, "value has to be a number"),
    ],
)
def test_a_loss_that_is_no_scalar(tx, value, message):
    """A regression: such a loss used to broadcast into the state."""
    for longer in (tx, velo.optimizer(10, WEIGHTS, horizon=2)):
        with pytest.raises(ValueError, match=message):
            longer.update(PARAMS, longer.init(PARAMS), PARAMS, value=value)
    with pytest.raises(ValueError, match=message):
        check_loss(value)


@pytest.mark.parametrize("value", [jnp.ones(3), "0.1", None, True, -1.0, np.float32(-0.1), float("nan"), 1j])
def test_numbers_that_are_none(value):
    with pytest.raises(ValueError, match="weight_decay has to be "):
        check_not_negative("weight_decay", value)


def test_a_distance_has_to_be_positive_and_velos():
    with pytest.raises(ValueError, match=r"max_distance has to be greater than 0, got 0\.0"):
        check_positive("max_distance", 0.0)
    with pytest.raises(ValueError, match="initial_distance: Probe has no estimate of the distance"):
        velo.optimizer(10, WEIGHTS, initial_distance=0.1)
    with pytest.raises(ValueError, match=r"max_distance has to be at least the first estimate, 0.0003, got 0.0001"):
        velo.optimizer(10, "untrained", max_distance=1e-4)


def test_traced_counts_say_what_is_static():
    injected = optax.inject_hyperparams(velo.optimizer, static_args=("weights",))(num_steps=10, weights=WEIGHTS)
    with pytest.raises(ValueError, match=r"num_steps.*static_args=\('num_steps',\)"):
        jax.jit(injected.init)(PARAMS)
    with pytest.raises(ValueError, match=r"initial_distance.*static_args=\('initial_distance',\)"):
        jax.jit(lambda distance: transformation._limit_distance(velo.VeLO(), distance, None))(1e-3)


def test_weights_of_other_kinds_and_shapes(tx):
    with pytest.raises(ValueError, match=r"weights has to be a path, .* got int"):
        resolve_weights(3)
    with pytest.raises(
        ValueError, match=r"theta has to be that of Probe: at the root it has shape \(2,\), not shape \(\)"
    ):
        resolve_weights((Probe(), jnp.ones(2)))
    with pytest.raises(ValueError, match="state was made with other weights"):
        velo.optimizer(10, "untrained").update(PARAMS, tx.init(PARAMS), PARAMS, value=1.0)


def test_masks_of_other_kinds(tx):
    for mask, message in [({"a": 1.0}, "tree of bools"), ({"c": True}, "like the parameters or a prefix")]:
        decayed = velo.optimizer(10, WEIGHTS, weight_decay=0.1, weight_decay_mask=mask)
        with pytest.raises(ValueError, match=f"weight_decay_mask has to be a .*{message}"):
            decayed.update(PARAMS, decayed.init(PARAMS), PARAMS, value=1.0)
