"""Our weights format: what goes in comes out to the bit, and what doesn't fit is named."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import velo
from tests.velo import recordings
from velo.atomic_file import write_atomically
from velo.weights import tensor_file

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

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=r"can't write .*a\.velo: disk full"):
        write_atomically(path, b"new")
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


@dataclasses.dataclass(frozen=True)
class Own(velo.LearnedOptimizer):
    """A user's own architecture: every kind of field that a file can record, and a theta of one array."""

    width: int = 3
    rate: float = 1.0
    kind: Literal["a", "b"] = "a"
    name: str | None = None
    sizes: tuple[int, ...] = (4, 5)
    pair: tuple[int, str] = (1, "x")
    thick_depth: int = 9

    def init(self, key):
        return jnp.zeros(self.width)

    def bind(self, theta, num_steps):
        return optax.with_extra_args_support(optax.sgd(self.rate))


class Outer:
    @dataclasses.dataclass(frozen=True)
    class Own(Own):
        pass


@pytest.mark.parametrize("own", [Own(), Own(2, 0.5, "b", "n", (), (2, "y"), 100), Outer.Own(4)])
def test_a_class_of_ones_own_loads_where_it_is_passed(own, tmp_path):
    theta = jnp.arange(own.width, dtype=jnp.float32)
    info = velo.save_weights(tmp_path / "own.velo", own, theta)
    assert info.architecture == f"tests.velo.test_weights:{type(own).__qualname__}"
    optimizer, loaded = velo.load_weights(tmp_path / "own.velo", architecture=type(own))
    assert (optimizer, type(optimizer)) == (own, type(own))
    np.testing.assert_array_equal(loaded, theta)


def test_a_class_of_ones_own_is_named_and_never_imported_by_a_file(tmp_path, monkeypatch):
    velo.save_weights(tmp_path / "own.velo", Own(), jnp.zeros(3))
    monkeypatch.delitem(sys.modules, Own.__module__)
    with pytest.raises(velo.WeightsError) as error:
        velo.load_weights(tmp_path / "own.velo")
    assert "holds weights of 'tests.velo.test_weights:Own'" in str(error.value)
    assert "velo.load_weights(path, architecture=Own)" in str(error.value) and "\n" not in str(error.value)
    assert Own.__module__ not in sys.modules


def test_another_class_than_the_files_is_refused(path, tmp_path):
    velo.save_weights(tmp_path / "own.velo", Own(), jnp.zeros(3))
    with pytest.raises(velo.WeightsError, match=r"holds weights of 'tests.velo.test_weights:Own', not of Celo"):
        velo.load_weights(tmp_path / "own.velo", architecture=velo.Celo)
    with pytest.raises(velo.WeightsError, match=r"holds weights of 'VeLO', not of tests.velo.test_weights:Own"):
        velo.load_weights(path, architecture=Own)
    assert velo.load_weights(path, architecture=velo.VeLO)[0] == OPTIMIZER
    moved = type("Own", (Own,), {"__module__": "elsewhere"})  # the same class, in another module by now
    assert isinstance(velo.load_weights(tmp_path / "own.velo", architecture=moved)[0], moved)


def own(**members):
    """A class whose theta or fields can't be saved, where its reference leads to it."""
    cls = dataclasses.dataclass(frozen=True)(type("Changed", (Own,), {"__module__": __name__, **members}))
    globals()["Changed"] = cls
    return cls


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: type("Local", (Own,), {})(),
            r"\w+:Local doesn't lead to it; define it at the top of a module",
        ),
        (lambda: type("Plain", (velo.LearnedOptimizer,), {"init": 0, "bind": 0})(), "make it a frozen dataclass"),
        (lambda: Own(sizes=[1]), "Own can't be saved: its fields build Own"),
        (lambda: Own(rate=float("nan")), "JSON scalars or tuples of them: Out of range float values"),
        (lambda: Own(width=None), "width has to be of type int, got 'None'"),
        (lambda: Own(kind="c"), "kind has to be of type typing.Literal"),
        (lambda: Own(width=2**17), "width = 131072 is beyond 65536"),
        (lambda: own(init=lambda self, key: {"a": jnp.zeros(2, jnp.int32)})(), "float32, but a is int32"),
        (lambda: own(init=lambda self, key: jnp.zeros(2, jnp.bfloat16))(), "float32, but it is bfloat16"),
        (lambda: own(init=lambda self, key: ())(), "has no arrays"),
        (lambda: own(init=lambda self, key: {"a": {"b": jnp.zeros(1)}, "a/b": jnp.zeros(1)})(), "the same path"),
    ],
)
def test_what_can_not_be_saved_says_so(make, message, tmp_path):
    optimizer = make()
    with pytest.raises(velo.WeightsError, match=message):
        velo.save_weights(tmp_path / "own.velo", optimizer, jnp.zeros(3))
    with pytest.raises(velo.WeightsError, match=message):
        velo.weights.check_saveable(optimizer)
    assert not list(tmp_path.iterdir())


def test_a_running_script_is_named_as_others_import_it(tmp_path):
    script = tmp_path / "my_script.py"
    script.write_text(
        "import velo\n\nclass Mine(velo.VeLO):\n    pass\n\nprint(velo.weights.configuration.reference(Mine))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "my_script:Mine\n"


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
    changed = {"velo": text, "velo_sha256": velo.weights.configuration.sha256(text)}
    path.write_bytes(tensor_file.encode(arrays, changed))
    assert velo.load_weights(path)[0] == OPTIMIZER
