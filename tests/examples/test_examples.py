"""Every example runs at a tiny size and does what it says; those of the frameworks have a file of their own."""

import dataclasses
import json
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import velo
from meta_train.run_log import read_events, read_metrics, read_validation
from tasks import fixed
from tests.examples.conftest import EXAMPLES
from tests.examples.learned_rate import LearnedRate
from tests.meta_train.settings import TINY_FULL

QUICK = (LearnedRate(), jnp.float32(0.01))


def test_every_example_is_tested():
    text = "".join(path.read_text() for path in (EXAMPLES.parent / "tests" / "examples").glob("test_*.py"))
    names = {path.stem for path in EXAMPLES.glob("*.py")} | {path.name for path in EXAMPLES.glob("*.ipynb")}
    assert {name for name in names - {"digits"} if f'"{name}"' not in text} == set()


def test_image_classification(load):
    fitted = load("image_classification").main(num_steps=60, width=4)
    assert fitted.history.last_evaluation["test accuracy"] > 0.5
    assert fitted.history.metrics["accuracy"][-1] > fitted.history.metrics["accuracy"][0]


def test_character_model(load, capsys):
    fitted = load("character_model").main(num_steps=20, width=8, context=8, batch_size=8, sample_length=5)
    assert fitted.history.last_loss < fitted.history.losses[0]
    assert "    def " in capsys.readouterr().out


def test_autoencoder(load, tmp_path):
    fitted = load("autoencoder").main(num_steps=60, picture=tmp_path / "digits.png")
    assert fitted.history.last_loss < 0.7 * fitted.history.losses[0]
    assert (tmp_path / "digits.png").read_bytes()[:4] == b"\x89PNG"


def test_fine_tuning_moves_the_head_alone(load):
    trained, tuned = load("fine_tuning").main(num_steps=20)
    jax.tree.map(np.testing.assert_array_equal, trained["body"], tuned["body"])
    assert not np.array_equal(trained["head"]["w"], tuned["head"]["w"])


def test_gradient_accumulation_is_the_whole_batch(load):
    module = load("gradient_accumulation")
    fitted = module.main(num_steps=12)
    assert fitted.history.last_loss < fitted.history.losses[0]
    images = jnp.linspace(-1, 1, 8 * 4 * 64).reshape(8, 4, 64)
    labels = jnp.arange(32).reshape(8, 4) % 10
    parts = jax.grad(module.in_parts(module.loss_fn))(fitted.params, (images, labels))
    whole = jax.grad(module.loss_fn)(fitted.params, (images.reshape(32, 64), labels.reshape(32)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), parts, whole)


def test_eight_devices(load):
    fitted, divided = load("eight_devices").main(num_steps=10)
    assert len(divided.params["hidden"].sharding.device_set) == 8
    np.testing.assert_allclose(fitted.history.losses, divided.history.losses, rtol=1e-4)


TINY_RUN = ["--num-steps=2", "--num-workers=2", "--family-pool=1", "--estimator.num-pairs=2"]
TINY_RUN += ["--episodes.segment-steps=5", "--episodes.min-steps=5", "--episodes.max-steps=10"]
TINY_RUN += ["--execution.executor=local"]  # on Ray the same classes run in tests/configs/test_own.py


def test_own_optimizer(load, tmp_path, capsys):
    module = load("own_optimizer")
    words = [*TINY_RUN, "--mixture", "own_task:mixture", "--validation.every", "0"]
    optimizer, theta = module.main(tmp_path / "run", *words)
    assert optimizer == module.Schedule()
    assert not np.array_equal(theta["log_rates"], optimizer.init(None)["log_rates"])
    assert "learned rates along the run" in capsys.readouterr().out
    assert velo.weights_info(tmp_path / "run" / "weights.velo").architecture == "own_optimizer:Schedule"


def test_own_task(load, tmp_path):
    module = load("own_task")
    words = [*TINY_RUN, "--optimizer", "own_optimizer:Schedule", "--validation.steps-scale", "0.01"]
    fitted = module.main(60, QUICK, tmp_path / "run", words)
    assert fitted.history.last_loss < fitted.history.losses[0]
    assert [line["families"] for line in read_metrics(tmp_path / "run")] == [["Sines", "Sines"]] * 2
    assert [list(line["tasks"]) for line in read_validation(tmp_path / "run")] == [["sines"]] * 2
    assert "set_aside" not in {line["event"] for line in read_events(tmp_path / "run")}


def test_own_evaluation(load, tmp_path):
    short = dataclasses.replace(fixed.TASKS["mlp_breast_cancer"], num_steps=3)
    module = load("own_evaluation")
    report = module.main(tmp_path, (short,), num_seeds=1, num_checkpoints=1, stretch=1)
    text = report.read_text()
    assert all(name in text for name in ("own_lion", "signed_momentum", "adam"))
    assert pickle.loads(pickle.dumps(module.SIGNED_MOMENTUM)) == module.SIGNED_MOMENTUM


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.filterwarnings("ignore")
def test_two_ray_nodes(load, tmp_path):
    pytest.importorskip("ray")
    weights = load("two_ray_nodes").main(tmp_path / "run", TINY_FULL)
    assert velo.weights_info(weights).record["outer_steps"] == TINY_FULL.num_steps


def test_pytorch_digits(load):
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'velo[torch]'")
    assert load("pytorch_digits").main(num_steps=60) > 0.7


@pytest.mark.filterwarnings("ignore")  # of Keras itself
def test_keras_digits(load):
    keras = pytest.importorskip("keras", reason="Keras is not installed: pip install 'velo[frameworks]'")
    if keras.backend.backend() != "jax":
        pytest.skip("Keras is on another backend than JAX")
    assert load("keras_digits").main(num_epochs=4) > 0.7


@pytest.mark.parametrize("name", ["first_steps.ipynb", "against_adam.ipynb"])
def test_notebooks(name, load, monkeypatch, tmp_path):
    """The cells one after the other, in one namespace, with a few steps where the notebook has many."""
    notebook = json.loads((EXAMPLES / name).read_text())
    assert notebook["nbformat"] == 4
    monkeypatch.chdir(tmp_path)
    for module in (velo.transformation, velo.diagnostics):
        monkeypatch.setattr(module, "resolve_weights", lambda weights: QUICK if isinstance(weights, str) else weights)
    namespace = {"__name__": name}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            source = "".join(cell["source"]).replace("NUM_STEPS = 1000", "NUM_STEPS = 20")
            exec(compile(source, name, "exec"), namespace)
    namespace["check"]()
