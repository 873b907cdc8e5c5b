"""Data sets: what the table says about each is true of its arrays, and what is missing says how to get it."""

import subprocess
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tasks.data import SOURCES, load
from tasks.data.missing import MissingDataError
from tasks.families import classification

PACKAGED = ("astronaut", "cat", "coffee")
"""Photographs of a package that the tests do without."""
HERE = sorted(name for name in set(SOURCES) - set(PACKAGED) if not SOURCES[name].is_downloaded)


@pytest.mark.parametrize("name", HERE)
def test_arrays_are_what_the_table_says(name):
    source = SOURCES[name]
    splits = load(name)
    assert load(name) is splits
    for split in splits:
        if source.kind == "text":
            assert split.dtype == np.int32
            assert 0 <= int(split.min()) <= int(split.max()) < source.num_classes
        elif source.kind != "none":
            inputs, targets = split
            assert inputs.shape[1:] == source.input_shape
            assert len(inputs) == len(targets)
            if source.kind == "target":
                assert targets.size == len(targets) * source.num_classes
            else:
                assert 0 <= int(targets.min()) <= int(targets.max()) < source.num_classes
            if source.kind in ("image", "table"):
                np.testing.assert_allclose(float(np.var(inputs, axis=0).mean()), source.variance, rtol=0.25)
    assert jax.tree.structure(splits[0]) == jax.tree.structure(splits[1])


def test_training_and_validation_examples_differ():
    (train, _), (valid, _) = load("spirals")
    assert not {tuple(point) for point in np.asarray(train)} & {tuple(point) for point in np.asarray(valid)}


def test_modular_addition_is_right():
    train, valid = load("modular_addition")
    rows = np.concatenate([train, valid]).reshape(-1, 4)
    np.testing.assert_array_equal((rows[:, 0] + rows[:, 1]) % 31, rows[:, 2])
    assert len({tuple(row) for row in rows}) == 31**2


@pytest.mark.parametrize(
    ("module", "name", "advice"),
    [
        ("skimage", "coffee", r"needs scikit-image: pip install 'velo\[images\]'"),
        ("sklearn", "iris", r"needs scikit-learn: pip install 'velo\[tasks\]'"),
    ],
)
def test_a_missing_package_is_named(monkeypatch, module, name, advice):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDataError, match=advice):
        SOURCES[name].load()


def test_importing_the_tasks_imports_no_data_library():
    """Such an import would take most of the time before the first step of a command or a Ray worker."""
    check = "import sys, tasks.fixed; assert not {'sklearn', 'pandas', 'skimage'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=Path(__file__).parents[2])


def test_unknown_data_set():
    with pytest.raises(ValueError, match="unknown data set 'mnits'; known: "):
        load("mnits")


class _Library(types.ModuleType):
    """Stands in for tensorflow-datasets: two images of different sizes and a line of text."""

    def load(self, name, split, data_dir, download):
        assert not download
        assert split == "train"
        if name == "svhn_cropped":
            raise AssertionError("could not find data")
        if name == "lm1b":
            return [{"text": b"velo"}] * 30
        if name == "wikipedia/20230601.en":
            return [{"text": b"the cat, the dog"}, {"text": b"the end"}] * 10
        return [{"image": np.full((2 * size, size, 3), size, np.uint8), "label": size % 2} for size in range(8, 18)]

    def as_numpy(self, examples):
        return examples


def test_downloaded_sets_become_arrays(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", _Library("tensorflow_datasets"))
    (inputs, labels), valid = SOURCES["food101"].load()
    assert inputs.shape == (8, 32, 32, 3)
    assert labels.shape == (8,)
    assert len(valid[0]) == 2
    assert inputs.dtype == np.uint8
    np.testing.assert_array_equal(inputs[:, 0, 0, 0], inputs[:, -1, -1, -1])
    batch = classification.gather((jnp.asarray(inputs), jnp.asarray(labels)), jax.random.key(0), 5)[0]
    assert set(np.round(np.asarray(batch) * 127.5 + 127.5).ravel()) <= set(range(8, 18))
    assert SOURCES["cifar10_grey_8"].load()[0][0].shape == (8, 8, 8, 1)
    tokens, rest = SOURCES["lm1b"].load()
    assert bytes(tokens[:5].astype(np.uint8)) == b"velo\n"
    assert len(tokens) + len(rest) == 30 * 5 - 1
    words = np.concatenate(SOURCES["wikipedia_words"].load())
    assert words[[0, 3, 6]].tolist() == [0, 0, 0], "the most frequent word has number 0"
    assert len(words) == 10 * (5 + 1 + 2 + 1) - 1
    assert words.max() == 5


def test_missing_download_names_the_extra_and_the_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(MissingDataError, match=rf"'velo\[datasets\]'.*{tmp_path}"):
        SOURCES["mnist"].load()
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", _Library("tensorflow_datasets"))
    with pytest.raises(MissingDataError, match=f"'svhn_cropped' is not in {tmp_path}"):
        SOURCES["svhn"].load()


def test_structured_graphs_are_of_their_kinds_with_as_many_edges_each():
    graphs, kinds = (np.concatenate(parts) for parts in zip(*SOURCES["structured_graphs"].load(), strict=True))
    np.testing.assert_array_equal(graphs, np.swapaxes(graphs, 1, 2))
    assert set(graphs.sum((1, 2)).tolist()) == {46}  # 23 edges, from both ends
    odd_closed_walks = np.trace(np.linalg.matrix_power(graphs, 11), axis1=1, axis2=2)
    assert (odd_closed_walks[kinds == 1] == 0).all(), "a graph without odd cycles is bipartite"
    assert (odd_closed_walks[kinds != 1] > 0).mean() > 0.99
    two_largest = np.sort(graphs.sum(2), axis=1)[:, -2:].sum(1)
    assert two_largest[kinds == 3].min() >= 12 + 2, "of twelve edges off the path each has a hub"
    assert two_largest[kinds == 2].mean() < two_largest[kinds == 0].mean()
