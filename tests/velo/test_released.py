"""Released files are recognised by their arrays, and what does not fit is named as in the file."""

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import velo
from tests.velo import recordings
from tests.velo.registry import theta_of
from velo.weights import layouts, tensor_file
from velo.weights.layouts import GROUPS

GOLDEN = recordings.FOLDER
CHECKPOINT = {"gen_id": "golden_gen_id", "step": 7}


def assert_same(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(np.testing.assert_array_equal, got, want)


@pytest.mark.parametrize(
    ("file", "architecture", "record"),
    [
        ("celo_released.theta.state", velo.Celo(lstm_size=64), {}),
        ("celo_adam_released.theta.state", velo.CeloAdam(lstm_size=64), {}),
        ("hyperv2_h16_p8.theta.state", velo.HyperV2(lstm_size=16, num_mixtures=8), {}),
        (
            "hyperv2_h16_p8.tuple_ckpt",
            velo.HyperV2(lstm_size=16, num_mixtures=8),
            CHECKPOINT,
        ),
        ("adafac_mlp_lopt_default.theta.state", velo.AdafacMLP(), {}),
        ("adafac_mlp_lopt_default.params_ckpt", velo.AdafacMLP(), CHECKPOINT),
    ],
)
def test_flax_files(file, architecture, record):
    assert velo.load_weights(GOLDEN / file)[0] == architecture
    info = velo.weights_info(GOLDEN / file)
    assert info.record == record
    assert info.format_version == 0
    theta = [
        leaf
        for leaf in jax.tree.leaves(flax.serialization.msgpack_restore((GOLDEN / file).read_bytes()))
        if isinstance(leaf, np.ndarray)
    ]
    assert info.num_meta_parameters == sum(leaf.size for leaf in theta)


def test_the_three_forms_hold_the_same():
    assert_same(
        velo.load_weights(GOLDEN / "hyperv2_h16_p8.theta.state")[1],
        velo.load_weights(GOLDEN / "hyperv2_h16_p8.tuple_ckpt")[1],
    )


def test_quirks_are_options():
    file = GOLDEN / "hyperv2_h16_p8.theta.state"
    architecture, _ = velo.load_weights(file, legacy_lstm_state=True, legacy_loss_features=True)
    assert architecture.legacy_lstm_state and architecture.legacy_loss_features
    with pytest.raises(velo.WeightsError, match="no field or option 'lstm_bug'"):
        velo.load_weights(file, lstm_bug=True)


def plan_of(architecture, plan):
    """A file in another format that holds this theta: what `Source.assemble` undoes."""
    theta = theta_of(architecture)
    leaves, _ = jax.tree_util.tree_flatten_with_path(theta)
    arrays = {}
    for path, leaf in leaves:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if name not in plan:
            continue
        source = plan[name]
        array = np.asarray(leaf)[None] if source.squeeze else np.asarray(leaf)
        array = np.swapaxes(array, -1, -2) if source.transpose else array
        ends = np.cumsum([shape[source.axis] for _, shape in source.parts if shape])[:-1]
        pieces = np.split(array, ends, axis=source.axis)
        for (part, shape), piece in zip(source.parts, pieces, strict=True):
            assert piece.shape == shape
            arrays[part] = piece
    return theta, arrays


def write(path, arrays):
    path.write_bytes(tensor_file.encode(arrays, {"format": "pt"}))
    return path


HYPER = velo.HyperV2(lstm_size=4, num_mixtures=2, mlp_width=3, mlp_depth=2)


@pytest.fixture
def halves(tmp_path):
    """PyLO's two files, with the working copies that it stores too."""
    theta, arrays = plan_of(HYPER, layouts.pylo_velo(4, 2, 3, 2))
    network = {name: array for name, array in arrays.items() if "_." in name or name.endswith("_")}
    rnn = {name: array for name, array in arrays.items() if name not in network}
    copies = {"input_weights": np.zeros((3, 30), np.float32), "hidden_weights.0": np.zeros((3, 3), np.float32)}
    return theta, write(tmp_path / "rnn.safetensors", rnn), write(tmp_path / "mlp.safetensors", network | copies)


def test_pylo_velo_in_two_files(halves):
    theta, rnn, mlp = halves
    for first, second in [(rnn, mlp), (mlp, rnn)]:
        with pytest.warns(UserWarning, match=r"steps on square matrices .* differ .* transposed"):
            architecture, loaded = velo.load_weights(first, companion=second)
        assert architecture == HYPER
        assert_same(loaded, theta)
        with pytest.raises(velo.WeightsError, match="pass the other one as companion="):
            velo.load_weights(first)
    with pytest.raises(velo.WeightsError, match="some of the same arrays"):
        velo.load_weights(rnn, companion=rnn)


@pytest.mark.parametrize(
    ("architecture", "plan"),
    [
        (velo.Celo2(mlp_width=3), layouts.pylo_celo2(3, 2)),
        (velo.Celo2(mlp_width=3, mlp_depth=3), layouts.pylo_celo2(3, 3)),
        (velo.Celo2(mlp_width=3), layouts.dense_celo2(3, 2)),
        (velo.Celo2(mlp_width=3), layouts.grouped_celo2(3, 2)),
        (velo.AdafacMLP(mlp_width=3, mlp_depth=2), layouts.pylo_mlp(3, 2)),
    ],
)
def test_pylo_networks(architecture, plan, tmp_path):
    theta, arrays = plan_of(architecture, plan)
    loaded_architecture, loaded = velo.load_weights(write(tmp_path / "model.safetensors", arrays))
    assert loaded_architecture == architecture
    if isinstance(architecture, velo.AdafacMLP):  # its decays are options there
        theta |= {name: jnp.zeros_like(leaf) for name, leaf in theta.items() if name != "network"}
    assert_same(loaded, theta)


@pytest.mark.parametrize(
    ("architecture", "plan"),
    [
        (velo.Celo2(mlp_width=3), layouts.celo2(3, 2)),
        (
            velo.RNNMLP(lstm_size=4, mlp_width=3, from_mlp_size=2, from_lstm_size=5, lstm_to_mlp_size=6),
            layouts.rnn_mlp(4, 3, 2, 2, 5, 6),
        ),
    ],
)
def test_haiku_networks(architecture, plan, tmp_path):
    theta, arrays = plan_of(architecture, plan)
    tree = {}
    for name, array in arrays.items():
        tree.setdefault(name.split("/")[0], {})[name.partition("/")[2] or "leaf"] = array
    tree = {name: node["leaf"] if set(node) == {"leaf"} else node for name, node in tree.items()}
    (tmp_path / "theta.state").write_bytes(flax.serialization.msgpack_serialize(tree))
    loaded_architecture, loaded = velo.load_weights(tmp_path / "theta.state")
    assert loaded_architecture == architecture
    assert_same(loaded, theta)


def test_what_does_not_fit_is_named_with_both_shapes(tmp_path):
    _, arrays = plan_of(velo.Celo2(mlp_width=3), layouts.pylo_celo2(3, 2))
    wrong = {**arrays, "w0.3": np.zeros((2, 3), np.float32), "more": np.zeros(7, np.float32)}
    del wrong["dense_b.1"]
    wrong["b0"] = wrong["b0"].astype(np.float64)
    with pytest.raises(velo.WeightsError) as caught:
        velo.load_weights(write(tmp_path / "a", wrong))
    for problem in (
        r"w0.3: has shape (2, 3), should have (3, 3)",
        r"more: not in PyLO's Celo2, has shape (7,)",
        r"dense_b.1: missing, should have shape (3,)",
        r"b0: has dtype float64, should have float32",
    ):
        assert problem in str(caught.value)
    assert len(GROUPS) == 14


def test_arrays_of_nothing_known(tmp_path):
    with pytest.raises(velo.WeightsError, match=r"no known optimizer: \['w'\]"):
        velo.load_weights(write(tmp_path / "a", {"w": np.zeros(3, np.float32)}))
