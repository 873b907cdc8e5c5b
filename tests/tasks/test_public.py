"""Google's fixed tasks: their names, that they build on arrays of the right shapes, and what is said without data."""

import dataclasses
import functools
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tasks import fixed, public
from tasks.data import SOURCES
from tasks.data.missing import MissingDataError
from tasks.family import num_params
from tasks.wrappers.undisturbed import Undisturbed
from tests.tasks.tiny_families import FAMILIES

STEPPED = ("ImageMLP_Cifar10_128x128_Dropout05_Relu_MSE", "RNNLM_lm1bbytes_Patch32_IRNN128_Embed64")
"""Tasks that take a real step in every test run; the slow test takes a step of each of the others."""


def shapes_of(name: str, num_examples: int = 64):
    """Abstract arrays of a data set, as `tasks.data.load` would return them."""
    source = SOURCES[name]
    if source.kind == "text":
        return jax.ShapeDtypeStruct((4096,), jnp.int32)
    inputs = jax.ShapeDtypeStruct((num_examples, *source.input_shape), jnp.uint8)
    return inputs, jax.ShapeDtypeStruct((num_examples,), jnp.int32)


def random_data(name: str):
    rng, source = np.random.default_rng(0), SOURCES[name]

    def fill(leaf):
        if leaf.dtype == jnp.int32:
            return jnp.asarray(rng.integers(source.num_classes, size=leaf.shape), jnp.int32)
        return jnp.asarray(rng.integers(256, size=leaf.shape), leaf.dtype)

    return jax.tree.map(fill, shapes_of(name))


def with_batch_size(family, batch_size: int):
    """The family, however deep it is wrapped, with smaller batches."""
    if hasattr(family, "family"):
        return dataclasses.replace(family, family=with_batch_size(family.family, batch_size))
    return dataclasses.replace(family, batch_size=batch_size)


def loss_of(family, data, key):
    key_draw, key_init, key_batch, key_loss = jax.random.split(key, 4)
    draw = family.draw(key_draw)
    return family.loss(draw, family.init(draw, key_init), family.batch(data, key_batch), key_loss)


def step(family, data, key):
    """(loss, parameters after a step of gradient descent, parameters before it)."""
    key_draw, key_init, key_batch, key_loss = jax.random.split(key, 4)
    draw = family.draw(key_draw)
    params = family.init(draw, key_init)
    batch = family.batch(data, key_batch)
    loss, grads = jax.value_and_grad(family.loss, argnums=1)(draw, params, batch, key_loss)
    return loss, jax.tree.map(lambda leaf, grad: leaf - 1e-3 * grad, params, grads), params


def test_there_are_more_than_a_hundred_under_their_names():
    assert len(public.FAMILIES) > 100
    pattern = r"(Conv|ImageMLP|ImageMLPAE|LOpt|MLPMixer|RNNLM|Resnet|TransformerLM_LM1B|VIT|ESWrapped_[18]pair)_\w+"
    assert all(re.fullmatch(pattern, name) for name in public.FAMILIES)
    assert set(fixed.SUITES["public"]) == set(public.FAMILIES)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # By hand: inputs x outputs + outputs of every layer.
        ("ImageMLP_Mnist_128x128x128_Relu", 784 * 128 + 128 + 2 * (128 * 128 + 128) + 1290),
        ("Conv_Cifar10_8_16x32", 27 * 16 + 16 + 144 * 32 + 32 + 330),
        ("ImageMLPAE_Mnist_128x32x128_bs128", 784 * 128 + 128 + 128 * 32 + 32 + 32 * 128 + 128 + 128 * 784 + 784),
        ("LOpt_LearnableAdam_Cifar10_8_50", 4),
        ("LOpt_MLPLOpt_FahionMnist_10", 19 * 32 + 32 + 32 * 32 + 32 + 32 * 2 + 2),
    ],
)
def test_parameters_are_as_many_as_by_hand(name, expected):
    assert num_params(public.FAMILIES[name]) == expected


def test_every_task_builds_on_arrays_of_the_right_shapes():
    for name, family in public.FAMILIES.items():
        data = shapes_of(family.dataset)
        assert jax.eval_shape(functools.partial(loss_of, family), data, jax.random.key(0)).shape == (), name


def check_step(name):
    family = with_batch_size(public.FAMILIES[name], 2)
    data = random_data(family.dataset)
    loss, after, before = jax.jit(functools.partial(step, family))(data, jax.random.key(0))
    assert np.isfinite(loss)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(after))
    assert any(bool(jnp.any(x != y)) for x, y in zip(jax.tree.leaves(after), jax.tree.leaves(before), strict=True))


@pytest.mark.parametrize("name", STEPPED)
def test_a_real_step(name):
    check_step(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(public.FAMILIES) - set(STEPPED)))
def test_a_real_step_of_every_other(name):
    check_step(name)


def test_without_data_the_error_names_the_extra_and_the_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(MissingDataError, match=rf"'velo\[datasets\]'.*{tmp_path}"):
        public.FAMILIES["VIT_Cifar100_wideshallow"].load()


def test_nothing_disturbs_the_data():
    family = Undisturbed(dataclasses.replace(FAMILIES["mlp_classifier"], dropout=0.0))
    losses = []
    for seed in range(2):
        draw = family.draw(jax.random.key(seed))
        params = family.init(draw, jax.random.key(0))
        data = family.load()[0]
        losses.append(family.loss(draw, params, (data[0][:8], data[1][:8]), jax.random.key(seed)))
    assert losses[0] == losses[1]
    with pytest.raises(ValueError, match="nothing disturbs a Quadratic"):
        Undisturbed(FAMILIES["quadratic"]).draw(jax.random.key(0))
