"""`velo.keras.VeLO` in `model.fit`: the losses that it reads, and what Keras offers for every optimizer."""

import warnings

import jax
import numpy as np
import optax
import pytest

import velo
from tests.velo.loss_reader import READER

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Keras' own, while it is imported
    keras = pytest.importorskip("keras", reason="Keras is not installed: pip install 'velo[frameworks]'")

if keras.backend.backend() != "jax":
    pytest.skip("Keras is on another backend than JAX", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore:NumPy will stop allowing:DeprecationWarning")
INPUTS = np.linspace(-1, 1, 24, dtype=np.float32).reshape(8, 3)
TARGETS = np.sin(INPUTS.sum(1, keepdims=True))
BATCH = 2
NUM_STEPS = 8  # two epochs


@pytest.fixture(autouse=True)
def _promotion():
    """Keras relies on it."""
    with jax.numpy_rank_promotion("allow"):
        yield


def network():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(5, activation="tanh", name="hidden"), keras.layers.Dense(1, name="out")]
    )


def compiled(weights=READER, model=None, **options):
    model = model or network()
    model.compile(velo.keras.VeLO(NUM_STEPS, weights, **options), loss="mse")
    velo.keras.pass_loss(model)
    return model


def fit(model, num_epochs=2):
    return model.fit(INPUTS, TARGETS, BATCH, num_epochs, verbose=0, shuffle=False).history["loss"]


def values(model):
    return [np.asarray(variable.value) for variable in model.trainable_variables]


def assert_close(left, right, **tolerances):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **{"rtol": 1e-5, "atol": 1e-6, **tolerances}), left, right)


def test_steps_are_those_of_the_optax_transformation():
    model = compiled()
    params = values(model)
    tx = velo.optimizer(NUM_STEPS, READER)
    state = tx.init(params)
    losses = []

    def loss_fn(params, inputs, targets):
        kernel, bias, out_kernel, out_bias = params
        hidden = jax.numpy.tanh(inputs @ kernel + bias)
        return jax.numpy.mean((hidden @ out_kernel + out_bias - targets) ** 2)

    for index in range(NUM_STEPS):
        start = BATCH * index % len(INPUTS)
        batch = INPUTS[start : start + BATCH], TARGETS[start : start + BATCH]
        loss, grads = jax.value_and_grad(loss_fn)(params, *batch)
        updates, state = tx.update(grads, state, params, value=loss)
        params = optax.apply_updates(params, updates)
        losses.append(loss)
    means = fit(model)
    assert_close(values(model), params)
    assert_close(means, [np.mean(losses[:4]), np.mean(losses[4:])])
    read = next(variable for variable in model.optimizer.variables if variable.shape == (NUM_STEPS,))
    assert_close(np.asarray(read.value), np.array(losses))


def test_learns_with_the_untrained_weights():
    losses = fit(compiled("untrained"), num_epochs=2)
    assert losses[1] < losses[0]


def test_learning_rate_and_weight_decay_are_a_factor_and_a_fraction():
    before = values(network())
    learned, half, decayed = (
        compiled(**options) for options in ({}, {"learning_rate": 0.5}, {"weight_decay": 0.5, "learning_rate": 1.0})
    )
    decayed.optimizer.exclude_from_weight_decay(var_names=["bias"])
    for model in (learned, half, decayed):
        model.train_on_batch(INPUTS, TARGETS)
    steps = [[new - old for new, old in zip(values(model), before, strict=True)] for model in (learned, half, decayed)]
    assert_close(steps[1], [0.5 * step for step in steps[0]])
    assert_close(steps[2], [step - (0.5 * old if old.ndim == 2 else 0.0) for step, old in zip(steps[0], before, strict=True)])


def test_saved_in_between_it_goes_on(tmp_path):
    whole, first = compiled("untrained"), compiled("untrained")
    fit(whole, 2)
    fit(first, 1)
    first.save(tmp_path / "model.keras")
    second = keras.saving.load_model(tmp_path / "model.keras")
    with pytest.raises(ValueError, match=r"call velo\.keras\.pass_loss\(model\)"):
        fit(second, 1)
    second = keras.saving.load_model(tmp_path / "model.keras")
    velo.keras.pass_loss(second)
    fit(second, 1)
    assert_close(values(second), values(whole))


class OwnStep(keras.Model):
    def train_step(self, state, data):
        raise NotImplementedError


def test_mistakes_are_told():
    with pytest.raises(ValueError, match="num_steps has to be at least 1, got 0"):
        velo.keras.VeLO(0, READER)
    with pytest.raises(ValueError, match="gradient_accumulation_steps"):
        velo.keras.VeLO(NUM_STEPS, READER, gradient_accumulation_steps=2)
    with pytest.raises(ValueError, match=r"velo\.save_weights and pass the path"):
        velo.keras.VeLO(NUM_STEPS, READER).get_config()
    with pytest.raises(ValueError, match="OwnStep has a train_step of its own"):
        velo.keras.pass_loss(OwnStep())
    model = network()
    model.compile("sgd", loss="mse")
    velo.keras.pass_loss(model)
    with pytest.raises(ValueError, match=r"is SGD, and pass_loss is for velo\.keras\.VeLO"):
        fit(model)
