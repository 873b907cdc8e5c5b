"""The study of widths: its networks, its two ways to read a sweep, and all of it at its quick sizes."""

import io

import jax
import numpy as np
import pytest
from rich.console import Console

from evaluation import studies
from evaluation.studies import second_order_width
from evaluation.studies.parametrisation import Direction, baseline, feature_changes
from evaluation.studies.second_order_width import SecondOrderWidth
from evaluation.studies.widening import Network


@pytest.mark.parametrize("kind", ["mlp", "cnn", "cbow"])
def test_networks_in_mup_differ_in_their_read_outs_alone_and_not_at_the_base(kind):
    network, key = Network(kind, 8), jax.random.key(0)

    def params(width, in_mup):
        family = network.at(width, in_mup=in_mup, base_width=4)
        return family.init(family.draw(key), key)

    read_out = {"mlp": "dense_2", "cnn": "output", "cbow": "output"}[kind]
    standard, in_mup = params(16, False), params(16, True)
    np.testing.assert_allclose(in_mup.pop(read_out)["w"], standard.pop(read_out)["w"] / 2, rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, in_mup, standard)
    jax.tree.map(np.testing.assert_array_equal, params(4, True), params(4, False))


def test_one_step_is_measured_in_every_layer():
    network = Network("mlp", 8)
    changes = {}
    for width in (16, 64):
        base = network.base(16)
        family = network.at(width, in_mup=True, base_width=16)
        changes[width] = feature_changes(
            family=family, direction=Direction("sgd", "relative", base), damping=0.1, activation="tanh", num_seeds=1
        )["changes"]
    assert changes[16].shape == (1, 3)
    assert np.all(changes[64] / changes[16] < 2)
    assert np.all(changes[64] / changes[16] > 0.4)


def test_a_direction_has_its_factors_in_mup_alone():
    network = Network("mlp", 8)
    base = network.base(4)
    params = network.at(16, in_mup=False, base_width=4).init(base.draw(jax.random.key(0)), jax.random.key(0))
    found = {}
    for name, at in (("standard", None), ("mup", base)):
        tx = baseline(Direction("sgd", "relative", at)).bind({"learning_rate": 0.5, "damping": 0.1}, 10)
        found[name], _ = tx.update(params, tx.init(params), params)
    for name, factor in (("dense_0", 4.0), ("dense_1", 1.0), ("dense_2", 0.25)):
        np.testing.assert_allclose(found["standard"][name]["w"], -0.5 * params[name]["w"], rtol=1e-6)
        np.testing.assert_allclose(found["mup"][name]["w"], -0.5 * factor * params[name]["w"], rtol=1e-6)


def test_moves_and_growth_are_read_off_a_sweep():
    losses = np.array([[3.0, 1.0, 2.0], [3.0, 1.5, np.inf], [0.5, 1.2, np.inf]])
    assert second_order_width._move(losses) == 1
    assert second_order_width._worst_growth(losses) == pytest.approx(0.5)
    np.testing.assert_allclose(SecondOrderWidth(num_rates=3).rates("kfac"), [0.5, 1.0, 2.0])


def test_sizes_that_make_no_study_are_told():
    with pytest.raises(ValueError, match=r"widths must be two growing widths or more, got \(64,\)"):
        SecondOrderWidth(widths=(64,))
    with pytest.raises(ValueError, match="kind must be mlp, cnn or cbow, got 'rnn'"):
        Network("rnn", 8).at(4, in_mup=False, base_width=4)


@pytest.mark.slow
def test_the_quick_study_runs(tmp_path):
    studies.run(SecondOrderWidth.quick(), tmp_path, Console(file=io.StringIO(), width=100))
    text = (tmp_path / "report.md").read_text()
    assert text.count("| yes |") + text.count("| no |") >= 8
    assert (tmp_path / "rates.csv").read_text().count("\n") == 1 + 3 * 4 * 2
