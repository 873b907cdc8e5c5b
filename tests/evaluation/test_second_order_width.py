"""The study of widths: its networks, its two ways to read a sweep, and all of it at its quick sizes."""

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from rich.console import Console

from evaluation import studies
from evaluation.studies import Bench, page, second_order_width
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


def test_soap_is_measured_at_its_first_step():
    network = Network("mlp", 8)
    found = feature_changes(
        family=network.base(16), direction=Direction("soap", "relative", None), damping=0.1, activation="tanh",
        num_seeds=1,
    )["changes"]  # fmt: skip
    assert np.all(found > 0.1)


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
    assert (second_order_width._fall(losses), second_order_width._fall(losses[::-1])) == (1, -1)
    assert second_order_width._worst_growth(losses) == pytest.approx(0.5)
    np.testing.assert_allclose(SecondOrderWidth(num_rates=3).rates("mlp", "kfac"), [0.5, 1.0, 2.0])


def test_sizes_that_make_no_study_are_told():
    with pytest.raises(ValueError, match=r"widths must be two growing widths or more, got \(64,\)"):
        SecondOrderWidth(widths=(64,))
    with pytest.raises(ValueError, match="kind must be mlp, cnn or cbow, got 'rnn'"):
        Network("rnn", 8).at(4, in_mup=False, base_width=4)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StubBench(Bench):
    """Gives losses whose best setting falls with the width if `falls` says so, and changes of a given order."""

    out: Path = Path()
    falls: Callable[[str], bool]
    order: float

    def record(self, function, *, family, direction, **arguments):
        width = family.family.family.widths[0]
        return {"changes": np.full((1, 3), width ** (self.order if direction.damping == "constant" else 0.0))}

    def curves(self, task, contender, settings, seeds, procedure):
        width = int(task.name.split("_")[1])
        swept = "learning_rate" if len({dict(one)["learning_rate"] for one in settings}) > 1 else "damping"
        found = []
        for setting in settings:
            value = dict(setting)[swept]
            best = 0.01 * (64 / width) ** 2 if self.falls(contender.name) else 0.01
            loss = 1.0 + np.log(value / best) ** 2 + (0.1 if self.falls(contender.name) else -0.1) * np.log2(width)
            found.append(tuple(SimpleNamespace(train_loss=np.full(80, loss)) for _ in seeds))
        return found


@pytest.mark.parametrize("as_published", [True, False])
def test_criteria_tell_the_papers_result_from_its_contrary(as_published, monkeypatch):
    one = second_order_width.chart("one", "One for all, since drawing takes seconds", "x", "y", [])
    monkeypatch.setattr(second_order_width, "chart", lambda *arguments, **options: one)

    def falls(name):
        return ("standard" in name or "constant" in name) == as_published

    study = SecondOrderWidth(widths=(64, 256, 512), num_rates=14, dampings=tuple(10.0 ** np.arange(-7, 0)))
    found = study.run(StubBench(falls=falls, order=-1.0 if as_published else 0.0))
    verdicts = [one.is_met for one in found.criteria]
    assert verdicts == [True, *[as_published] * (len(verdicts) - 1)]


def test_the_page_shows_every_sweep_and_leaves_open_what_a_narrow_range_cannot_show(tmp_path):
    study = SecondOrderWidth(widths=(64, 128), num_rates=2, dampings=(0.01, 0.1))
    found = study.run(StubBench(falls=lambda name: False, order=0.0))
    assert [one.is_met for one in found.criteria].count(None) == 3
    assert len(found.drawings) == 3 + 3 * 5 * 2 + 4
    path = page.write(tmp_path, study, found, Console(file=io.StringIO(), width=100))
    assert path.read_text().count("<svg role") == len(found.drawings)
    assert (tmp_path / "rates.csv").read_text().count("\n") == 1 + 3 * 5 * 2


@pytest.mark.slow
def test_the_quick_study_runs(tmp_path):
    studies.run(SecondOrderWidth.quick(), tmp_path, Console(file=io.StringIO(), width=100))
    text = (tmp_path / "report.md").read_text()
    assert sum(text.count(f"| {verdict} |") for verdict in ("yes", "no", "can't tell")) == 8
    assert (tmp_path / "rates.csv").read_text().count("\n") == 1 + 3 * 5 * 2
