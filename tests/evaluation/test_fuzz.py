"""Damaged and hostile curves and records of evaluations: refused in a line, quickly, in bounded memory."""

import dataclasses
import json
import logging

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from evaluation import saved_evaluation
from evaluation.curve_store import CurveStore
from evaluation.curves import StepSizes
from evaluation.settings import Procedure
from tests.evaluation.runs import curve, entry
from tests.mutation import BYTES, WATCH, mutations

FEW_AND_MANY = [100, pytest.param(10_000, marks=pytest.mark.slow)]


@pytest.fixture
def samples(tmp_path):
    """The bytes of a plain curve and of one with step sizes."""
    store = CurveStore(tmp_path / "samples")
    plain = curve([3.0, np.nan, np.inf, 1.0], rate=1e-3)
    sizes = StepSizes(("w", "b"), np.array([0, 3]), np.array([[1, 2], [3, 4]], np.float32))
    paths = [store.put("abc", plain), store.put("abd", dataclasses.replace(plain, step_sizes=sizes))]
    return [path.read_bytes() for path in paths]


@pytest.mark.parametrize("number", FEW_AND_MANY)
def test_a_mutated_curve_is_missing_or_only_has_other_values(samples, tmp_path, number, caplog):
    caplog.set_level(logging.CRITICAL)
    store, path = CurveStore(tmp_path / "curves"), tmp_path / "curves" / "x-abc.parquet"
    with WATCH.all_of_them():
        for data in mutations(samples, number):
            path.write_bytes(data)
            with WATCH.bounded(data):
                found = store.get("abc")
            assert found is None or found.num_steps == 4
    assert pa.default_memory_pool().max_memory() < BYTES


def test_a_curve_that_claims_too_much_is_refused_before_it_is_read(samples, tmp_path, monkeypatch):
    monkeypatch.setattr("evaluation.curve_store.MAX_STEPS", 3)
    monkeypatch.setattr(parquet, "read_table", None)
    store = CurveStore(tmp_path / "curves")
    (tmp_path / "curves" / "x-abc.parquet").write_bytes(samples[0])
    assert store.get("abc") is None
    assert (tmp_path / "curves" / ".damaged-x-abc.parquet").exists()


@pytest.mark.parametrize("key", ["../abc", "*", "", "a/b", "a" * 65, "a\n"])
def test_a_key_never_leads_out_of_the_folder(samples, tmp_path, key):
    (tmp_path / "x-abc.parquet").write_bytes(b"somebody else's")
    with pytest.raises(ValueError, match="is no key of a curve"):
        CurveStore(tmp_path / "curves").get(key)
    assert (tmp_path / "x-abc.parquet").read_bytes() == b"somebody else's"


@pytest.fixture
def record(tmp_path):
    """A folder with a whole evaluation of two optimizers, and its record."""
    folder = tmp_path / "evaluation"
    store = CurveStore(folder / "curves")
    losses = np.linspace(2.0, 1.0, 4)[None]
    entries = []
    for number, name in enumerate(("velo", "adam")):
        found = entry(losses, optimizer=name, is_learned=number == 0)
        (tried,), (reported,) = found.trials[0], found.reported
        tried, reported = dataclasses.replace(tried, key=f"t{number}"), dataclasses.replace(reported, key=f"r{number}")
        for one in (tried, reported):
            store.put(one.key, one)
        entries.append(dataclasses.replace(found, trials=((tried,),), reported=(reported,)))
    content = {
        "format": 1,
        "settings": {"suite": "suite", **dataclasses.asdict(Procedure(num_seeds=1))},
        "tasks": ["tiny"],
        "optimizers": ["velo", "adam"],
        "reference": "adam",
        "entries": [saved_evaluation._entry_to_json(one) for one in entries],
        "notes": ["a note"],
        "meta_training": [[0, 1.0], [1, 0.5]],
    }
    return folder, json.dumps(content, indent=1).encode()


def test_the_record_itself_is_loaded(record):
    folder, text = record
    (folder / "evaluation.json").write_bytes(text)
    assert saved_evaluation.load(folder).results.optimizers == ("velo", "adam")


@pytest.mark.parametrize("number", FEW_AND_MANY)
def test_a_mutated_record_is_refused_in_a_line_or_loaded(record, number, caplog):
    caplog.set_level(logging.CRITICAL)
    folder, text = record
    with WATCH.all_of_them():
        for data in mutations([text], number):
            (folder / "evaluation.json").write_bytes(data)
            with WATCH.bounded(data):
                try:
                    message = saved_evaluation.load(folder).suite
                except ValueError as error:
                    message = str(error)
                    assert str(folder) in message and "\n" not in message and len(message) < 1000
    assert sorted(path.name for path in folder.parent.iterdir()) == ["evaluation"]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("entries", 0, "chosen"), 7),
        (("entries", 0, "chosen"), True),
        (("entries", 0, "reported"), ["r0", "r1"]),
        (("entries", 0, "trials"), []),
        (("entries", 0, "reported"), "r0"),
        (("reference",), "other"),
        (("settings", "num_seeds"), 1.0),
        (("meta_training",), [[1e999, 0]]),
        (("notes",), "text"),
        (("tasks",), [["tiny"]]),
    ],
)
def test_what_does_not_fit_is_refused(record, place, value):
    folder, text = record
    content = json.loads(text)
    inner = content
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    (folder / "evaluation.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="is no record of an evaluation"):
        saved_evaluation.load(folder)
