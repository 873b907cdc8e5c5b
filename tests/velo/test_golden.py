"""The released optimizers follow their recorded trajectories, to the digit."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import velo
from tests.velo import recordings
from velo.architectures.lstm import LSTMState
from velo.architectures.pages import Layout
from velo.architectures.published import hypernetwork, loss_buffer
from velo.architectures.published.arrangement import Arrangement
from velo.architectures.published.celo import AdamState
from velo.weights import released

QUIRKS = [(False, False), (False, True), (True, False), (True, True)]
CASES = {
    "celo_released": ("celo_released", {}),
    "celo_adam_released": ("celo_adam_released", {}),
    "adafac_mlp_lopt_default": ("adafac_mlp_lopt_default", {}),
    "hyperv2_default_h128_p64": ("hyperv2_default_h128_p64", {"legacy_loss_features": True}),
} | {
    f"hyperv2_h16_p8_lstmbug{lstm:d}_lossbug{loss:d}": (
        "hyperv2_h16_p8",
        {"legacy_lstm_state": lstm, "legacy_loss_features": loss},
    )
    for lstm, loss in QUIRKS
}


@pytest.mark.parametrize("name", CASES)
def test_trajectory(name):
    weights, options = CASES[name]
    architecture, theta = velo.load_weights(recordings.FOLDER / f"{weights}.theta.state", **options)
    follow(name, architecture, theta)


@pytest.mark.parametrize("quirk", [False, True])
def test_trajectory_at_the_released_size(quirk):
    name = f"hyperv2_h512_p256_lstmbug{quirk:d}_lossbug{quirk:d}"
    found = released.recognise(recordings.large_theta(recordings.read(name)))
    architecture = velo.HyperV2(**found.configuration, legacy_lstm_state=quirk, legacy_loss_features=quirk)
    assert (architecture.lstm_size, architecture.num_mixtures) == (512, 256)
    structure = jax.tree.structure(jax.eval_shape(architecture.init, jax.random.key(0)))
    theta = jax.tree.unflatten(structure, [jnp.asarray(found.arrays[path]) for path in sorted_paths(structure)])
    # With the recorded inputs our LSTM agrees to the bit; rounded inputs (eighth digit) require this tolerance.
    # The recording itself is 1e-6 from its own formula in float64.
    follow(name, architecture, theta, lstm_tolerance=3e-6)


def sorted_paths(structure):
    numbered = structure.unflatten(range(structure.num_leaves))
    paths, _ = jax.tree_util.tree_flatten_with_path(numbered)
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths]


def follow(name, architecture, theta, lstm_tolerance=0.0):
    """Twenty updates; everything that was recorded is compared, tensor by tensor."""
    params, grads, losses, num_steps = recordings.inputs()
    recorded = recordings.read(name)
    params = {path: jnp.asarray(leaf) for path, leaf in params.items()}
    tx = architecture.bind(theta, num_steps)
    state = tx.init(params)
    step = jax.jit(lambda grads, state, params, loss: tx.update(grads, state, params, value=loss))
    worst = {}
    for number in range(1, 21):
        grad = {path: jnp.asarray(values[number - 1]) for path, values in grads.items()}
        updates, state = step(grad, state, params, jnp.asarray(losses[number - 1]))
        params = optax.apply_updates(params, updates)
        if number in recordings.STEPS:
            compared = compare(f"step{number}/", recorded, params, state)
            for what, error in compared.items():
                bound = recordings.TOLERANCES[number]
                bound = max(bound, lstm_tolerance) if what.startswith("lstm") else bound
                if error > bound:
                    worst[f"step {number} {what}"] = error
            assert len(compared) >= 40
    assert not worst


def compare(prefix, recorded, params, state):
    """Errors of everything by its recorded name."""
    wanted = recordings.group(recordings.read("accumulators"), prefix) | recordings.group(recorded, prefix)
    got = {f"params/{path}": leaf for path, leaf in params.items()} | accumulated(params, state)
    if hasattr(state, "lstm"):
        places = np.arange(len(params))
        if not isinstance(state, AdamState):
            places = np.argsort(arranged(params).order)
        got |= {"lstm_h": state.lstm.hidden[places], "lstm_c": state.lstm.cell[places]}
        buffer = state.loss_buffer._asdict()
        got |= {f"loss_buffer/{field}": buffer[field] for field in ("means", "running_min", "decays", "iteration")}
    missing = [path for path in wanted if path not in got and not path.startswith("dbg/") and wanted[path].size]
    if isinstance(state, AdamState):
        # The reference's factored moments, which it never reads, are not kept; of the momenta it has the first.
        assert all(path.startswith("fac_") for path in missing)
        wanted = {path: w[..., :1] if path.startswith("mom/") else w for path, w in wanted.items()}
    else:
        assert not missing
    return {path: recordings.error(value, wanted[path]) for path, value in got.items() if path in wanted}


def accumulated(params, state):
    """Averages in the recorded shapes, with the axis of the decays last."""
    paths = sorted(params)
    if isinstance(state, AdamState):
        pairs = [("mom", state.momentum), ("rms", state.second_moment)]
        return {f"{kind}/{path}": np.asarray(tree[path])[..., None] for kind, tree in pairs for path in paths}
    return by_tensor(params, state.momenta, state.second_moment, state.factored)


@jax.jit
def by_tensor(params, momenta, second_moment, factored):
    arrangement = arranged(params)
    paths, got = arrangement.sort(sorted(params)), {}
    for part, pages, squares in zip(arrangement.parts, momenta, second_moment, strict=False):
        leaves = zip(*map(part.layout.unpack, pages), strict=True)
        here = paths[part.begin : part.end]
        got |= {f"mom/{path}": jnp.stack(stack, axis=-1) for path, stack in zip(here, leaves, strict=True)}
        squares = part.layout.unpack(squares)
        got |= {f"rms/{path}": leaf[..., None] for path, leaf in zip(here, squares, strict=True)}
    layout = arrangement.parts[0].layout
    unfactored = [layout.zeros().at[: pages.shape[0]].set(pages) for pages in factored.unfactored]
    stacks = zip(*map(layout.unpack, unfactored), strict=True)
    for path, stack in zip(paths[: arrangement.num_unfactored], stacks, strict=False):
        got[f"fac_diag/{path}"] = jnp.stack(stack, axis=-1)
    for group, vectors in zip(arrangement.groups, arrangement.vectors(factored), strict=True):
        for kind, arrays in zip(("fac_row", "fac_col"), vectors, strict=True):
            of_tensors = zip(paths[group.begin : group.end], jnp.moveaxis(arrays, 0, -1), strict=True)
            got |= {f"{kind}/{path}": array for path, array in of_tensors}
    return got


def arranged(params):
    return Arrangement(tuple(params[path].shape for path in sorted(params)))


@pytest.mark.parametrize("name", ["hyperv2_h16_p8_lstmbug0_lossbug0", "celo_released"])
def test_control_from_recorded_inputs(name):
    """The hypernetwork alone, from the inputs that the reference gave to its own."""
    weights, options = CASES[name]
    architecture, theta = velo.load_weights(recordings.FOLDER / f"{weights}.theta.state", **options)
    recorded = recordings.read(name)
    state = LSTMState(*(jnp.asarray(recorded[f"step1/lstm_{part}"]) for part in "hc"))
    outputs, state = jax.jit(hypernetwork.apply_hypernetwork)(
        theta["hypernetwork"], state, jnp.asarray(recorded["step2/dbg/rnn_inputs"])
    )
    assert recordings.error(outputs.controls, recorded["step2/dbg/controls"]) < 2e-6
    assert recordings.error(architecture.step_scale(outputs.step_size), recorded["step2/dbg/lr_mult"]) < 2e-6
    assert recordings.error(state.hidden, recorded["step2/lstm_h"]) < 1e-6


def test_inputs_of_the_hypernetwork():
    params, _, _, num_steps = recordings.inputs()
    name = "hyperv2_h16_p8_lstmbug0_lossbug0"
    recorded = recordings.read(name)
    params = {path: jnp.asarray(recorded[f"step1/params/{path}"]) for path in sorted(params)}
    layout = Layout(tuple(leaf.shape for leaf in params.values()))
    averages = recordings.group(recordings.read("accumulators"), "step1/")
    momenta = [layout.pack([jnp.asarray(averages[f"mom/{path}"][..., index]) for path in params]) for index in range(3)]
    second_moment = layout.pack([jnp.asarray(averages[f"rms/{path}"][..., 0]) for path in params])
    weights = layout.pack(list(params.values()))
    filled = jnp.asarray(layout.filled, jnp.float32)[:, None]
    sums = hypernetwork.page_sums(tuple(momenta), second_moment, filled)
    params_square = layout.sum_by_tensor(jnp.sum(jnp.square(weights), axis=1)) / layout.sizes.astype(np.float32)
    statistics = hypernetwork.means_and_variances(layout, sums)
    tensors = hypernetwork.tensor_inputs(layout.shapes, statistics, params_square)
    fraction = jnp.float32(1) / num_steps
    run = hypernetwork.run_inputs(len(params), fraction, jnp.asarray(recorded["step2/dbg/loss_features"]))
    got = jnp.concatenate([run, tensors], axis=1)
    assert recordings.error(got, recorded["step2/dbg/rnn_inputs"]) < 1e-6


BUFFER = recordings.read("hyperv2_loss_buffer")
SEQUENCES = sorted({name.split("/")[1] for name in BUFFER if name.startswith("losses/")})


@pytest.mark.parametrize("num_steps", [10, 50, 100000])
def test_loss_buffer(num_steps):
    """Updates and reads in separate programs, as recorded: the last bit decides whether an average is its minimum."""
    update, read = jax.jit(loss_buffer.update_loss_buffer), jax.jit(loss_buffer.loss_features)
    start = loss_buffer.init_loss_buffer(num_steps)
    np.testing.assert_array_equal(start.decays, BUFFER[f"n{num_steps}/decays"])
    for sequence in SEQUENCES:
        if f"n{num_steps}/{sequence}/means" not in BUFFER:
            continue
        buffer, features = start, []
        for number, loss in enumerate(BUFFER[f"losses/{sequence}"]):
            buffer = update(buffer, jnp.asarray(loss))
            features.append(read(buffer))
            for field in ("means", "running_min"):
                want = BUFFER[f"n{num_steps}/{sequence}/{field}"][number]
                assert recordings.error(getattr(buffer, field), want) < 1e-6, (sequence, number, field)
        # Early on, differences of nearly equal averages are divided by each other.
        error = np.abs(np.stack(features) - BUFFER[f"n{num_steps}/{sequence}/features"])
        assert np.max(error) < (1e-6 if num_steps == 10 else 1e-3), sequence


def test_an_unusable_loss_changes_nothing():
    update = jax.jit(loss_buffer.update_loss_buffer)
    buffer = update(loss_buffer.init_loss_buffer(100), jnp.float32(2.0))
    for loss in (np.nan, -np.inf):
        jax.tree.map(np.testing.assert_array_equal, update(buffer, jnp.float32(loss)), buffer)
