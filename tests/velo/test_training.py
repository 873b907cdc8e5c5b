"""`velo.fit`: what it computes, and that a run in pieces is the same run."""

import inspect
import json
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import velo
from tests.velo.probe import Probe
from tests.velo.registry import ARCHITECTURES, double_precision, theta_of
from velo.training import TrainState, trainer
from velo.training.batches import Batches

WEIGHTS = (ARCHITECTURES["VeLO"], theta_of(ARCHITECTURES["VeLO"]))
RNG = np.random.default_rng(0)
INPUTS = RNG.standard_normal((8, 8, 3)).astype(np.float32)
BATCHES = [(x, np.sin(x.sum(axis=1))) for x in INPUTS]
PARAMS = {"w": np.full((3, 1), 0.1, np.float32), "b": np.zeros(1, np.float32)}
ADAM = optax.adam(0.05)


def loss_fn(params, batch):
    inputs, targets = batch
    return jnp.mean(jnp.square((inputs @ params["w"])[:, 0] + params["b"] - targets))


def fit(num_steps=12, *, loss=loss_fn, batches=BATCHES, tx=ADAM, progress=False, **options):
    return velo.fit(loss, PARAMS, batches, num_steps, tx=tx, progress=progress, **options)


def assert_equal(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


def stop_at(step):
    return lambda seen: seen.step == step


def test_is_the_loop_that_one_would_write():
    weights = (Probe(), jnp.float32(0.1))
    tx = velo.optimizer(5, weights)
    params, state, losses = jax.tree.map(jnp.array, PARAMS), tx.init(PARAMS), []

    @jax.jit
    def step(params, state, batch):
        loss, grads = jax.value_and_grad(loss_fn)(params, batch)
        updates, state = tx.update(grads, state, params, value=loss)
        return optax.apply_updates(params, updates), state, loss

    for batch in BATCHES[:5]:
        params, state, loss = step(params, state, batch)
        losses.append(float(loss))
    fitted = velo.fit(loss_fn, PARAMS, BATCHES, 5, weights=weights, progress=False)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), fitted.params, params)
    np.testing.assert_allclose(fitted.history.losses, losses, rtol=1e-5)
    assert fitted.num_steps_done == 5
    assert_equal(PARAMS["w"], np.full((3, 1), 0.1, np.float32))  # donation leaves the caller's arrays alone


def test_a_run_in_pieces_is_the_same_run(tmp_path):
    """Through a checkpoint and through a result; with the learned optimizer, noise, and a random state in the model."""

    def noisy(params, rng, batch, key):
        use, rng = jax.random.split(rng)
        noise = jax.random.normal(use, ()) + jax.random.normal(key, ())
        return loss_fn(params, batch) + 0.01 * noise * params["b"][0], (rng, {"noise": noise})

    options = {"loss": noisy, "tx": None, "weights": WEIGHTS, "model_state": jax.random.key(3), "has_aux": True}
    options |= {"key": jax.random.key(1), "evaluate": lambda params, rng: params["b"][0], "evaluate_every": 3}
    whole = fit(**options)
    folder = tmp_path / "run"
    first = fit(**options, checkpoints=folder, stop_when=stop_at(7))
    assert first.num_steps_done == 7 and len(first.history) == 7
    for resumed in (fit(**options, checkpoints=folder, resume=True), fit(**options, resume=first)):
        assert_equal(resumed.params, whole.params)
        assert_equal(resumed.state.opt_state, whole.state.opt_state)
        assert_equal(jax.random.key_data(resumed.model_state), jax.random.key_data(whole.model_state))
        assert resumed.history.to_json() == whole.history.to_json()
    assert [entry["step"] for entry in whole.history.evaluations] == [3, 6, 9, 12]


def test_checkpoints_are_of_one_run(tmp_path):
    fit(4, checkpoints=tmp_path, stop_when=stop_at(2))
    with pytest.raises(ValueError, match="has checkpoints already: pass resume=True"):
        fit(4, checkpoints=tmp_path)
    with pytest.raises(ValueError, match=r"started with num_steps=4, got 3.*longer, not shorter"):
        fit(3, checkpoints=tmp_path, resume=True)
    with pytest.raises(ValueError, match="holds other shapes"):
        fit(4, checkpoints=tmp_path, resume=True, tx=optax.sgd(0.1, momentum=0.9))
    done = fit(4, checkpoints=tmp_path, resume=True)
    with pytest.raises(ValueError, match="all 4 steps of that run are done"):
        fit(4, resume=done)
    (latest,) = (path for path in tmp_path.iterdir() if path.name == "4")
    for path in latest.rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"checkpoint .*4 can't be read"):
        fit(4, checkpoints=tmp_path, resume=True)


def test_resume_has_to_say_from_where():
    with pytest.raises(ValueError, match="resume=True needs checkpoints"):
        fit(resume=True)


def test_an_interrupt_ends_the_step_and_keeps_the_run(tmp_path):
    def interrupt(seen):
        if seen.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    fitted = fit(callbacks=[interrupt], checkpoints=tmp_path)
    assert fitted.num_steps_done == 3
    assert signal.getsignal(signal.SIGINT) is before
    assert_equal(fit(checkpoints=tmp_path, resume=True).params, fit().params)


def test_state_and_auxiliary_output():
    def with_state(params, count, batch):
        return loss_fn(params, batch), count + 1

    def with_aux(params, batch):
        return loss_fn(params, batch), {"bias": params["b"][0], "inputs": batch[0]}

    counted = fit(loss=with_state, model_state=jnp.zeros((), jnp.int32))
    assert int(counted.model_state) == 12
    seen = []
    noted = fit(loss=with_aux, has_aux=True, callbacks=[lambda step: seen.append(step.aux["inputs"].shape)])
    assert_equal(noted.params, counted.params)
    assert list(noted.history.metrics) == ["bias"]
    assert noted.history.metrics["bias"][0] == 0.0 and len(noted.history.metrics["bias"]) == 12
    assert seen == [(8, 3)] * 12


@pytest.mark.parametrize(
    ("loss", "options", "message"),
    [
        (lambda p, b: (loss_fn(p, b), 0.0), {}, "pass has_aux=True"),
        (lambda p, b: loss_fn(p, b), {"has_aux": True}, r"has to return \(loss, aux\)"),
        (lambda p, s, b: (loss_fn(p, b), s), {"has_aux": True, "model_state": 1.0}, "in the second place"),
        (lambda p, b: jnp.square(b[0] @ p["w"])[:, 0], {}, r"scalar loss, got shape \(8,\): take its mean"),
        (lambda p, b: jnp.zeros((), jnp.int32), {}, "floating-point loss, got dtype int32"),
        (lambda p, b: None, {}, "scalar loss, got NoneType"),
        (lambda p, s, b: (loss_fn(p, b), (s, s)), {"model_state": 1.0}, "model state of structure"),
    ],
)
def test_loss_functions_of_the_wrong_form(loss, options, message):
    with pytest.raises(ValueError, match=message):
        fit(loss=loss, **options)


def test_batches_from_anything():
    expected = fit()
    endless = (BATCHES[step % 8] for step in range(100))
    for batches in (endless, lambda step: BATCHES[step % 8], tuple(BATCHES), [list(batch) for batch in BATCHES]):
        assert_equal(fit(batches=batches).params, expected.params)
    with pytest.raises(ValueError, match="has to be an iterable, or a function of the step, got int"):
        Batches(3, 0, 1, None)
    with pytest.raises(ValueError, match="at least one batch"):
        fit(batches=[])
    with pytest.raises(ValueError, match="made of numbers, got str"):
        fit(batches=[("a", "b")])
    with pytest.raises(ValueError, match="batch 2 has the structure"):
        fit(batches=[BATCHES[0], BATCHES[1][0]])


def test_eight_devices_compute_what_one_does():
    devices = jax.devices()
    assert len(devices) == 8
    several = fit(devices=devices)
    assert {leaf.sharding.device_set == set(devices) for leaf in jax.tree.leaves(several.params)} == {True}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), several.params, fit().params)
    with pytest.raises(ValueError, match="8 examples can't be divided among 3 devices"):
        fit(devices=devices[:3])
    with pytest.raises(ValueError, match="at least one device"):
        fit(devices=[])


def test_mixed_precision_keeps_float32_parameters():
    dtypes = []

    def noted(params, batch):
        dtypes.append((params["w"].dtype, batch[0].dtype))
        return loss_fn(params, batch)

    half = fit(40, loss=noted, compute_dtype=jnp.bfloat16)
    assert dtypes[0] == (jnp.bfloat16, jnp.bfloat16)
    assert half.params["w"].dtype == jnp.float32
    np.testing.assert_allclose(half.history.last_loss, fit(40).history.last_loss, rtol=0.05)


def test_callbacks_see_the_run():
    seen = []
    fit(callbacks=[lambda step: seen.append(step)], evaluate=lambda params: {"two": 2.0}, evaluate_every=5)
    assert [step.step for step in seen] == list(range(1, 13))
    assert isinstance(seen[-1].state, TrainState)
    losses = [float(step.loss) for step in seen]
    below = fit(stop_when=lambda step: step.loss < 0.5 * losses[0])
    assert below.num_steps_done == 1 + next(index for index, loss in enumerate(losses) if loss < 0.5 * losses[0])
    assert [step.evaluation for step in seen if step.evaluation] == [{"two": 2.0}] * 3
    assert fit(callbacks=[lambda step: True]).num_steps_done == 12  # as tqdm's `update` returns


def test_options_that_contradict():
    with pytest.raises(ValueError, match="weights or tx, not both"):
        fit(weights=WEIGHTS)
    with pytest.raises(ValueError, match="evaluate_every has to be at least 1"):
        fit(evaluate_every=0)


def test_history_as_table_picture_and_text(tmp_path):
    history = fit(evaluate=lambda params: {"bias": params["b"][0]}, evaluate_every=6).history
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(history.table())
    assert list(table.columns) == ["step", "loss", "step_size", "evaluation/bias"] and len(table) == 12
    assert table["evaluation/bias"].notna().tolist() == [False] * 5 + [True] + [False] * 5 + [True]
    pytest.importorskip("matplotlib")
    figure = history.plot(tmp_path / "history.png")
    assert (tmp_path / "history.png").read_bytes()[:4] == b"\x89PNG"
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), history.losses)
    assert history._repr_png_()[:4] == b"\x89PNG"
    assert repr(history).startswith("History: 12 of 12 steps, loss ") and "bias" in repr(history)
    history.save(tmp_path / "history.json")
    assert json.loads((tmp_path / "history.json").read_text()) == history.to_json()


def test_the_bar_tells_loss_and_evaluation(capsys, monkeypatch):
    pytest.importorskip("rich")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes anything for a terminal
    monkeypatch.setenv("COLUMNS", "200")
    fitted = fit(progress=True, evaluate=lambda params: {"bias": params["b"][0]})
    printed = capsys.readouterr().out
    assert "\x1b" in printed and "12/12" in printed and f"loss {fitted.history.losses[-1]:.4g}" in printed


def test_lines_where_there_is_no_terminal(capsys, tmp_path):
    fitted = fit(100, progress=None, weights=WEIGHTS, tx=None, batches=BATCHES)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "step 1/100",
        *(f"step {step}/100" for step in range(10, 101, 10)),
    ]
    last = fitted.history
    assert (
        f"loss {last.losses[-1]:.4g}, step size {last.step_sizes[-1]:.2g}, distance {last.distances[-1]:.2g}"
        in lines[-1]
    )
    assert "s left" in lines[3] and "left" not in lines[-1]

    def interrupt(seen):
        if seen.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    fit(progress=True, callbacks=[interrupt], checkpoints=tmp_path)
    assert f"interrupted at step 3 of 12: the same call goes on with checkpoints='{tmp_path}', resume=True" in (
        capsys.readouterr().out
    )
    fit(progress=True, callbacks=[interrupt])
    assert "interrupted at step 3 of 12: the same call goes on with resume=RESULT" in capsys.readouterr().out
    fit(progress=False, callbacks=[interrupt])
    assert capsys.readouterr().out == ""


def test_the_history_has_step_sizes_and_the_distance():
    fitted = fit(5, weights=WEIGHTS, tx=None)
    tx, params = velo.optimizer(5, WEIGHTS), jax.tree.map(jnp.array, PARAMS)
    state = tx.init(params)
    for index, batch in enumerate(BATCHES[:5]):
        loss, grads = jax.value_and_grad(loss_fn)(params, batch)
        updates, state = jax.jit(tx.update)(grads, state, params, value=loss)
        params = optax.apply_updates(params, updates)
        size = np.sqrt(np.mean(np.square(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(updates)]))))
        np.testing.assert_allclose(fitted.history.step_sizes[index], size, rtol=5e-4)
        np.testing.assert_allclose(fitted.history.distances[index], state.learned.distance.estimate, rtol=5e-4)
    assert list(fitted.history.table()) == ["step", "loss", "step_size", "distance"]
    assert fit(2).history.distances == []


def test_a_run_whose_loss_has_not_fallen_says_so(capsys):
    assert fit(120, tx=optax.set_to_zero(), progress=True).history.has_stalled
    assert "the loss has not fallen" in capsys.readouterr().out
    assert not fit(120, progress=True).history.has_stalled
    assert not fit(12, tx=optax.set_to_zero(), progress=True).history.has_stalled  # too few steps to tell
    assert "has not fallen" not in capsys.readouterr().out


def test_a_data_set_is_cut_into_batches():
    """Every epoch in another order, the same in every run, and none of its examples twice."""
    data = {"row": np.arange(10), "square": np.arange(10)[:, None] ** 2}
    batches = list(Batches(data, 0, 6, None, 3))
    assert all(batch["square"].tolist() == (batch["row"][:, None] ** 2).tolist() for batch in batches)
    epochs = [np.concatenate([batch["row"] for batch in batches[start : start + 3]]) for start in (0, 3)]
    assert [len(set(epoch.tolist())) for epoch in epochs] == [9, 9]
    assert epochs[0].tolist() != epochs[1].tolist()
    assert [batch["row"].tolist() for batch in Batches(data, 4, 6, None, 3)] == [
        batch["row"].tolist() for batch in batches[4:]
    ]
    inputs, targets = np.concatenate([x for x, _ in BATCHES]), np.concatenate([y for _, y in BATCHES])
    whole = fit(batches=(inputs, targets), batch_size=16)
    assert whole.history.last_loss < whole.history.losses[0]
    stopped = fit(batches=(inputs, targets), batch_size=16, stop_when=stop_at(5))
    assert_equal(fit(batches=(inputs, targets), batch_size=16, resume=stopped).params, whole.params)
    for mistaken in ((inputs, targets), {"inputs": inputs, "targets": targets}):
        with pytest.raises(ValueError, match=r"one data set.*give batch_size="):
            fit(batches=mistaken)
    with pytest.raises(ValueError, match=r"as many examples each.*batch_size; got arrays of shapes"):
        fit(batches=(inputs, targets[1:]), batch_size=16)
    with pytest.raises(ValueError, match="at most the number of examples 64, got 65"):
        fit(batches=(inputs, targets), batch_size=65)


def test_a_run_is_resumed_with_more_steps(tmp_path):
    """The optimizer's state goes on under the schedule of the longer run."""
    options = {"weights": (Probe(), jnp.float32(0.1)), "tx": None}
    fit(6, **options, checkpoints=tmp_path)
    extended = fit(12, **options, checkpoints=tmp_path, resume=True)
    assert extended.num_steps_done == extended.history.num_steps == len(extended.history) == 12
    assert_equal(fit(12, **options, resume=fit(6, **options)).params, extended.params)
    long = fit(12, **options, resume=fit(12, **options, stop_when=stop_at(6)))
    assert float(long.state.opt_state.learned.step) == float(extended.state.opt_state.learned.step) == 12
    assert extended.history.step_sizes[6] > extended.history.step_sizes[5]  # the rate is that of half a run again


@pytest.mark.skipif(not hasattr(jax, "enable_x64"), reason="older versions of JAX compile its integers as int64")
@pytest.mark.parametrize("name", ["VeLO", "HyperV2"])
def test_double_precision_resumes(name, tmp_path):
    weights = (ARCHITECTURES[name], theta_of(ARCHITECTURES[name]))
    with double_precision():
        options = {
            "weights": weights,
            "tx": None,
            "loss": lambda params, batch: loss_fn(params, batch).astype(jnp.float64),
        }
        fit(4, **options, checkpoints=tmp_path, stop_when=stop_at(2))
        resumed = fit(4, **options, checkpoints=tmp_path, resume=True)
        assert_equal(resumed.params, fit(4, **options).params)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": 3.0}, r"loss_fn has to be a function, loss_fn\(params, batch\), got float"),
        ({"tx": 0.1}, "tx has to be an optax transformation, got float"),
        ({"has_aux": "yes"}, "has_aux has to be True or False, got 'yes'"),
        ({"key": 0}, r"key has to be one PRNG key, such as jax.random.key\(0\), got 0"),
        ({"evaluate": 1}, r"evaluate has to be a function, evaluate\(params\), got int"),
        ({"callbacks": print}, "callbacks has to be a list of functions, got builtin_function_or_method"),
        ({"callbacks": [None]}, "each of callbacks has to be a function"),
        ({"stop_when": 10}, "stop_when has to be a function"),
        ({"resume": "runs"}, "resume has to be True, False or an earlier result"),
        ({"progress": 1}, "progress has to be True or False, got 1"),
        ({"checkpoints": 3}, "checkpoints has to be the path of a folder, got 3"),
        ({"devices": "cpu"}, "devices has to be a list of devices"),
        ({"compute_dtype": "half-ish"}, "compute_dtype has to be a floating dtype"),
        ({"compute_dtype": jnp.int32}, "compute_dtype has to be a floating dtype"),
    ],
)
def test_arguments_of_the_wrong_kind(options, message):
    """In tests the annotation checks come first, so this calls the checks that users without them get directly."""
    given = {"loss_fn": loss_fn, "tx": ADAM, "has_aux": False, "callbacks": (), "resume": False}
    given |= {("loss_fn" if name == "loss" else name): value for name, value in options.items()}

    def check():
        for part in (trainer._check_functions, trainer._check_values):
            part(*(given.get(name) for name in inspect.signature(part).parameters))

    with pytest.raises(ValueError, match=message):
        check()
