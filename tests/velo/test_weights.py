"""Our weights format: what goes in comes out to the bit, and what doesn't fit is named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import velo
from tests.velo import recordings
from velo import tensor_file

OPTIMIZER = velo.VeLO(lstm_size=4, num_mixtures=2)


@pytest.fixture(scope="module")
def theta():
    return OPTIMIZER.init(jax.random.key(0))


@pytest.fixture
def path(tmp_path, theta):
    velo.save_weights(tmp_path / "a.velo", OPTIMIZER, theta, {"outer_steps": 7}, licence="Apache-2.0")
    return tmp_path / "a.velo"


def test_round_trip_to_the_bit(path, theta):
    optimizer, loaded = velo.load_weights(path)
    assert optimizer == OPTIMIZER
    assert jax.tree.structure(loaded) == jax.tree.structure(theta)
    for got, want in zip(jax.tree.leaves(loaded), jax.tree.leaves(theta), strict=True):
        assert got.dtype == want.dtype
        assert np.asarray(got).tobytes() == np.asarray(want).tobytes()


def test_same_theta_gives_the_same_bytes(path, theta, tmp_path):
    velo.save_weights(tmp_path / "b.velo", OPTIMIZER, theta, {"outer_steps": 7}, licence="Apache-2.0")
    assert (tmp_path / "b.velo").read_bytes() == path.read_bytes()


def test_info(path, theta, tmp_path):
    info = velo.weights_info(path)
    assert info.architecture == "VeLO"
    assert info.configuration["lstm_size"] == 4
    assert info.record == {"outer_steps": 7}
    assert info.licence == "Apache-2.0"
    assert info.num_meta_parameters == sum(leaf.size for leaf in jax.tree.leaves(theta))
    other = velo.save_weights(tmp_path / "b.velo", OPTIMIZER, theta)
    assert other.digest == info.digest  # of the arrays, whatever the record


def test_options_replace_fields(path):
    assert velo.load_weights(path, final_rate=0.1)[0] == velo.VeLO(lstm_size=4, num_mixtures=2, final_rate=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flavour": 1}, "no field or option 'flavour'"),
        ({"final_rate": 2.0}, r"final_rate must be in \[0, 1\]"),
        ({"final_rate": "high"}, "final_rate has to be of type float"),
        ({"lstm_size": 8}, r"controls/w: has shape \(4, 2\), should have \(8, 2\)"),
    ],
)
def test_wrong_options_are_named(path, options, message):
    with pytest.raises(velo.WeightsError, match=message):
        velo.load_weights(path, **options)


def test_theta_that_does_not_fit_is_named(theta, tmp_path):
    wrong = {**theta, "bank": theta["bank"][:-1], "more": jnp.zeros(3)}
    message = r"more: not in theta(.|\n)*bank/2/b: missing, should have shape \(2, 2\)"
    with pytest.raises(velo.WeightsError, match=message):
        velo.save_weights(tmp_path / "a.velo", OPTIMIZER, wrong)
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), theta)
    with pytest.raises(velo.WeightsError, match="has dtype bfloat16, should have float32"):
        velo.save_weights(tmp_path / "a.velo", OPTIMIZER, half)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("record", [{"when": object()}, {"loss": float("nan")}])
def test_record_has_to_be_json(theta, tmp_path, record):
    with pytest.raises(velo.WeightsError, match="record has to be JSON"):
        velo.save_weights(tmp_path / "a.velo", OPTIMIZER, theta, record)


def test_a_failed_write_leaves_the_old_file(path, monkeypatch):
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(tensor_file.os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        tensor_file.write_atomically(path, b"new")
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["a.velo"]


def test_the_layout_is_read_by_the_safetensors_package(path):
    numpy_files = pytest.importorskip("safetensors.numpy", exc_type=ImportError)
    arrays, metadata = tensor_file.decode(path.read_bytes())
    theirs = numpy_files.load(path.read_bytes())
    assert sorted(theirs) == sorted(arrays)
    for name, array in theirs.items():
        np.testing.assert_array_equal(array, arrays[name])
    again, _ = tensor_file.decode(numpy_files.save(theirs, metadata))
    assert tensor_file.digest(again) == tensor_file.digest(arrays)


def test_the_first_version_of_the_format_stays_loadable():
    path = recordings.FOLDER / "format_1.velo"
    optimizer, theta = velo.load_weights(path)
    assert optimizer == velo.AdafacMLP(mlp_width=3, step_multiplier=0.01)
    assert theta["network"][0]["w"].shape == (3, 39)
    info = velo.weights_info(path)
    assert info.format_version == 1
    assert info.record == {"outer_steps": 5, "tasks": ["digits"]}
    assert info.digest == "6d7e8c5008ac0a1c625497d168dae2686350e63852d3d884744f842ff46f408a"


def test_fields_that_a_file_lacks_keep_their_defaults(path):
    """A field that a later version adds does not make the files of this one unreadable."""
    arrays, metadata = tensor_file.decode(path.read_bytes())
    text = metadata["velo"].replace('"final_rate": 0.0, ', "")
    assert text != metadata["velo"]
    changed = {"velo": text, "velo_sha256": velo.configuration.sha256(text)}
    path.write_bytes(tensor_file.encode(arrays, changed))
    assert velo.load_weights(path)[0] == OPTIMIZER
