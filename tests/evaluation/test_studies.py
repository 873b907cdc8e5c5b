import dataclasses
import io
import json

import numpy as np
import pytest
from rich.console import Console

from configs import evaluate_command
from evaluation import record_store, studies
from evaluation.record_store import RecordStore
from evaluation.report.charts import Series, chart
from evaluation.studies import Study, Table, entry_point
from evaluation.studies.registry import STUDIES
from evaluation.training import Trainer
from tests.evaluation import browser
from tests.evaluation.tiny_study import CALLS, Tiny, squares


def _run(study, out):
    return studies.run(study, out, Console(file=io.StringIO(), width=100))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("study")
    CALLS.clear()
    _run(Tiny(), out)
    return out


def test_what_is_measured_is_not_measured_again(finished, monkeypatch):
    assert CALLS == [(1, 2, 3)]
    page = (finished / "report.html").read_bytes()

    def refused(*arguments, **options):
        raise AssertionError("trained again")

    monkeypatch.setattr(Trainer, "run", refused)
    _run(Tiny(), finished)
    assert CALLS == [(1, 2, 3)]
    assert (finished / "report.html").read_bytes() == page


def test_the_page_says_what_was_asked_and_found(finished):
    page, text = ((finished / name).read_text() for name in ("report.html", "report.md"))
    assert "A tiny &lt;study&gt;" in page
    assert "<study>" not in page
    assert page.count("<svg role") == 2
    assert "| published | here | criterion | met |" in text
    assert "| 9 at 3 | 9 at 3 | grow by the square | yes |" in text
    assert "| nothing | - | fall | no |" in text
    assert "can't tell" in text
    assert {path.name for path in (finished / "figures").iterdir()} == {
        "squares.png", "squares.csv", "loss.png", "loss.csv",
    }  # fmt: skip
    assert (finished / "criteria.csv").read_text().startswith("published,here,criterion,met\n9 at 3,")
    assert (finished / "all.csv").read_text() == "number,square\n1,1\n"


@pytest.mark.slow
@pytest.mark.skipif(bool(browser.missing()), reason=browser.missing())
def test_the_page_fits_a_desk_and_a_phone(finished):
    frames, messages = browser.look(finished / "report.html", (1280, 390))
    assert messages == []
    for frame in frames:
        assert frame["scroll_width"] <= frame["width"]
        assert frame["requests"] == []
        assert frame["least_font"] >= 12


def test_a_folder_is_unfinished_until_it_has_its_page(tmp_path):
    assert not entry_point.is_unfinished(tmp_path, Tiny())
    (tmp_path / "study.json").write_text(json.dumps(entry_point._description(Tiny())))
    assert entry_point.is_unfinished(tmp_path, Tiny())
    assert not entry_point.is_unfinished(tmp_path, Tiny.quick())
    (tmp_path / "report.html").write_text("")
    assert not entry_point.is_unfinished(tmp_path, Tiny())


def test_the_command_lists_and_runs_studies(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(STUDIES, "tiny", Tiny)
    assert evaluate_command.main(["study"]) == 0
    assert "tiny" in (listed := capsys.readouterr().out)
    assert "A tiny <study> (0000.00000)" in listed
    assert evaluate_command.main(["study", "tiny", "--quick"]) == 0
    assert "(1, 2)" in (tmp_path / "runs" / "study-tiny-quick" / "report.md").read_text()
    assert evaluate_command.main(["study", "tiny", "--numbers", "4", "5", "--out", "mine"]) == 0
    assert "25 at 5" in (tmp_path / "mine" / "report.md").read_text()
    for argv, message in (
        (["tinny"], "unknown study 'tinny'; did you mean 'tiny'?"),
        (["tiny", "--nombers", "4"], "did you mean --numbers?"),
        (["tiny", "--numbers", "x"], "got x"),
    ):
        capsys.readouterr()
        assert evaluate_command.main(["study", *argv]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("kind", STUDIES.values(), ids=lambda kind: kind.name)
def test_every_study_says_what_it_is(kind: type[Study]):
    assert dataclasses.is_dataclass(kind)
    assert STUDIES[kind.name] is kind
    assert kind.title
    assert kind.claim
    assert kind() != kind.quick()
    assert hash(kind()) == hash(kind())


@pytest.mark.slow
@pytest.mark.parametrize("kind", STUDIES.values(), ids=lambda kind: kind.name)
def test_the_quick_sizes_of_a_study_run(kind: type[Study], tmp_path):
    page = _run(kind.quick(), tmp_path)
    assert kind.title in page.read_text()
    assert "nan" not in (tmp_path / "criteria.csv").read_text()
    assert list((tmp_path / "figures").glob("*.png"))


def test_records_are_kept_by_function_arguments_and_code(tmp_path, monkeypatch, caplog):
    store = RecordStore(tmp_path)
    CALLS.clear()
    np.testing.assert_array_equal(store.get(squares, numbers=(2, 3))["squares"], [4, 9])
    np.testing.assert_array_equal(RecordStore(tmp_path).get(squares, numbers=(2, 3))["squares"], [4, 9])
    store.get(squares, numbers=(2, 4))
    assert CALLS == [(2, 3), (2, 4)]
    store.path(squares, numbers=(2, 3)).write_bytes(b"cut off")
    np.testing.assert_array_equal(store.get(squares, numbers=(2, 3))["squares"], [4, 9])
    assert "is damaged" in caplog.text
    before = store.path(squares, numbers=(2, 3))
    monkeypatch.setattr(record_store.curve_key, "source_digest", lambda *modules: "other code")
    assert store.path(squares, numbers=(2, 3)) != before


def test_a_chart_keeps_its_numbers_and_skips_what_is_not_finite():
    x, y = np.array([1.0, 10.0, 100.0]), np.array([1.0, np.nan, 4.0])
    drawn = chart("c", "C", "x", "y", [Series("one", x, y, low=y / 2, high=2 * y), Series("two", x, x, style="points")])
    assert drawn.csv.splitlines()[:3] == ["series,x,y,low,high", "one,1,1,0.5,2", "one,10,nan,nan,nan"]
    assert "two" in drawn.svg
    with pytest.raises(ValueError, match="style must be solid, dashed, dotted or points, got 'wavy'"):
        Series("one", x, y, style="wavy")
    with pytest.raises(ValueError, match="vectors of one length"):
        Series("one", x, y[:2])
    with pytest.raises(ValueError, match="got 'z'"):
        chart("c", "C", "x", "y", [], log="z")
    with pytest.raises(ValueError, match="rows must have 2 cells"):
        Table("t", "T", ("a", "b"), (("1",),))
