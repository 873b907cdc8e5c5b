import dataclasses
import logging

import numpy as np
import pandas as pd
import pytest

from evaluation.curve_store import CurveStore
from evaluation.curves import StepSizes
from tests.evaluation.runs import curve

LOSSES = [3.0, np.nan, np.inf, 1.0]


def test_a_curve_comes_back_as_it_was(tmp_path):
    store = CurveStore(tmp_path / "new" / "folder")
    original = curve(LOSSES, rate=1e-3, seed=7)
    original = dataclasses.replace(
        original,
        valid_steps=np.array([2, 4]),
        valid_loss=np.array([np.nan, 1.5], np.float32),
        cost=dataclasses.replace(original.cost, memory_bytes=None),
        step_sizes=StepSizes(("w", "b"), np.array([0, 3]), np.array([[1, 2], [3, 4]], np.float32)),
    )
    store.put("abc", original)
    again = store.get("abc")
    assert again is not None
    assert again.key == "abc"
    assert again.step_sizes is not None
    for field in dataclasses.fields(StepSizes):
        np.testing.assert_array_equal(getattr(again.step_sizes, field.name), getattr(original.step_sizes, field.name))
    for field in dataclasses.fields(original):
        if field.name in ("key", "step_sizes"):
            continue
        np.testing.assert_array_equal(getattr(again, field.name), getattr(original, field.name), err_msg=field.name)


def test_pandas_reads_the_folder_in_one_line(tmp_path):
    store = CurveStore(tmp_path)
    store.put("abc", curve(LOSSES, rate=1e-3))
    store.put("def", curve([2.0, 1.0], optimizer="velo", seed=1))
    frame = pd.read_parquet(tmp_path)
    assert frame.groupby(["optimizer", "seed"]).train_loss.last().to_dict() == {("adam", 0): 1.0, ("velo", 1): 1.0}
    assert frame.step.tolist() == [1, 2, 3, 4, 1, 2]


def test_a_curve_is_written_once(tmp_path):
    store = CurveStore(tmp_path)
    path = store.put("abc", curve([1.0]))
    before = path.read_bytes()
    store.put("abc", curve([2.0]))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"x" * 300])
def test_a_damaged_curve_is_set_aside_whole_and_counts_as_missing(tmp_path, caplog, damage):
    store = CurveStore(tmp_path)
    path = store.put("abc", curve([1.0]))
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    with caplog.at_level(logging.WARNING):
        assert store.get("abc") is None
    (line,) = caplog.messages
    assert path.name in line
    assert "\n" not in line
    assert (tmp_path / f".damaged-{path.name}").read_bytes() == damaged
    store.put("abc", curve([1.0]))
    assert len(pd.read_parquet(tmp_path)) == 1


def test_a_curve_that_can_not_be_opened_is_left_where_it_is(tmp_path, monkeypatch):
    store = CurveStore(tmp_path)
    path = store.put("abc", curve(LOSSES))

    def refuse(*_, **__):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("evaluation.curve_store.parquet.ParquetFile", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        store.get("abc")
    assert path.exists()


def test_a_curve_under_the_wrong_name_is_none(tmp_path):
    store = CurveStore(tmp_path)
    path = store.put("abc", curve([1.0]))
    path.rename(store.path("def", curve([1.0])))
    assert store.get("def") is None


def test_names_of_optimizers_cannot_leave_the_folder(tmp_path):
    path = CurveStore(tmp_path).put("abc", curve([1.0], optimizer="../../evil name"))
    assert path.parent == tmp_path


def test_a_folder_that_cannot_be_written_gets_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"can't write curves to .*file") as error:
        CurveStore(tmp_path / "file" / "folder")
    assert "\n" not in str(error.value)
