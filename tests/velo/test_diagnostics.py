"""Observing an optimizer changes nothing, and the record shows the steps that were taken."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import velo
from tests.velo.probe import Probe
from tests.velo.registry import ARCHITECTURES, theta_of
from velo.architectures.velo import features

PARAMS = {"w": jnp.linspace(-1.0, 1.0, 12).reshape(3, 4), "b": jnp.full(4, 0.5)}
NUM_STEPS = 6


def loss_fn(params, batch):
    return jnp.sum(jnp.square(params["w"])) + jnp.sum(jnp.square(params["b"] - batch))


def fit(weights, **options):
    return velo.fit(loss_fn, PARAMS, [1.0], NUM_STEPS, weights=weights, progress=False, **options)


@pytest.fixture(scope="module", params=["VeLO", "Probe"])
def run(request):
    """(architecture's name, weights, result, record); `Probe` has neither controls nor loss features."""
    architecture = ARCHITECTURES["VeLO"] if request.param == "VeLO" else Probe()
    weights = (architecture, theta_of(architecture))
    record = velo.diagnostics.Record(PARAMS, every=2)
    return request.param, weights, fit(velo.diagnostics.observe(weights), callbacks=[record]), record


def test_watching_changes_nothing(run):
    _, weights, fitted, _ = run
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), fitted.params, fit(weights).params
    )


def test_the_table_is_tidy(run):
    name, _, fitted, record = run
    table = record.table()
    assert {len(column) for column in table.values()} == {4 * 2}
    assert table["step"].tolist() == [1, 1, 2, 2, 4, 4, 6, 6]
    assert table["tensor"].tolist() == ["b", "w"] * 4
    assert table["size"].tolist() == [4, 12] * 4
    first = {column: values[0] for column, values in table.items()}
    np.testing.assert_allclose(first["param_rms"], 0.5, rtol=1e-6)
    np.testing.assert_allclose(first["grad_rms"], 1.0, rtol=1e-6)
    np.testing.assert_allclose(first["relative_step"], first["step_rms"] / 0.5, rtol=1e-6)
    assert np.all(table["step_rms"][2:6] > 0.0)  # VeLO's first gradient only sets the basis
    learned = fitted.state.opt_state.learned
    if name == "VeLO":
        assert sum(column.startswith("control_") for column in table) == 2
        assert np.all(np.isfinite(table["log_step"])) and np.any(table["control_0"] != 0.0)
        last = [table[f"loss_feature_{index}"][-1] for index in range(features.NUM_LOSS_FEATURES)]
        np.testing.assert_allclose(last, features.loss_features(learned.inner.loss_history), rtol=1e-5)
        np.testing.assert_allclose(table["distance"][-1], learned.inner.distance.estimate)
    else:
        assert np.all(np.isnan(table["log_step"])) and not any(column.startswith("control") for column in table)


def test_the_step_is_the_change_of_the_parameters():
    weights = (Probe(), jnp.float32(0.1))
    tx = velo.optimizer(NUM_STEPS, velo.diagnostics.observe(weights))
    record = velo.diagnostics.Record(PARAMS)
    grads = jax.grad(loss_fn)(PARAMS, 1.0)
    updates, state = jax.jit(lambda state: tx.update(grads, state, PARAMS, value=1.0))(tx.init(PARAMS))
    record.add(state)
    record.add(state)  # the same again is no second row
    rms = [float(jnp.sqrt(jnp.mean(jnp.square(updates[name])))) for name in ("b", "w")]
    np.testing.assert_allclose(record.table()["step_rms"], rms, rtol=1e-5)


def test_the_picture_has_a_line_for_each_tensor(run, tmp_path):
    pytest.importorskip("matplotlib")
    _, _, _, record = run
    figure = record.plot(tmp_path / "diagnostics.png")
    assert (tmp_path / "diagnostics.png").read_bytes()[:4] == b"\x89PNG"
    assert record._repr_png_()[:4] == b"\x89PNG"
    assert [line.get_label() for line in figure.axes[0].lines] == ["b", "w"]


def test_an_empty_record_is_an_empty_table():
    assert {len(column) for column in velo.diagnostics.Record(PARAMS).table().values()} == {0}


def test_mistakes_are_told(run):
    _, weights, fitted, _ = run
    with pytest.raises(ValueError, match=r"weights=velo\.diagnostics\.observe"):
        velo.diagnostics.Record(PARAMS).add(velo.optimizer(3, weights).init(PARAMS))
    with pytest.raises(ValueError, match="trains 2 tensors, and this record was made for 1"):
        velo.diagnostics.Record({"w": PARAMS["w"]}).add(fitted.state.opt_state)
