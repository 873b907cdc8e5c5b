"""The real tensorflow-datasets, on examples that it makes up itself: nothing is downloaded."""

import importlib

import numpy as np
import pytest

from tasks.data import SOURCES
from tasks.data.missing import MissingDataError

DOWNLOADED = sorted(name for name, source in SOURCES.items() if source.is_downloaded)

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def library():
    pytest.importorskip("tensorflow", reason="needs the extra velo[datasets]")
    return importlib.import_module("tensorflow_datasets")


@pytest.mark.parametrize("name", DOWNLOADED)
def test_a_set_has_the_shapes_and_classes_that_are_declared(name, library, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    source = SOURCES[name]
    with library.testing.mock_data(num_examples=100):
        train, valid = source.load()
    if source.kind == "text":
        assert train.dtype == valid.dtype == np.int32
        assert 0 <= min(train.min(), valid.min()) <= max(train.max(), valid.max()) < source.num_classes
        return
    for (inputs, labels), size in ((train, 80), (valid, 20)):
        assert inputs.shape == (size, *source.input_shape)
        assert inputs.dtype == np.uint8
        assert labels.shape == (size,)
        assert 0 <= labels.min() <= labels.max() < source.num_classes


@pytest.mark.parametrize("name", DOWNLOADED)
def test_a_set_that_is_not_there_is_said_to_be_missing(name, library, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(MissingDataError, match=f"is not in {tmp_path}; tasks.data.downloads.prepare"):
        SOURCES[name].load()
