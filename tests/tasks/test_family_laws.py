"""Laws that every task family obeys, as one table."""

import collections
import dataclasses
import functools
import pickle

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from tasks import mixture
from tasks.families.autoencoder import Autoencoder
from tasks.families.click_model import ClickModel
from tasks.families.conv_classifier import ConvClassifier
from tasks.families.mlp_classifier import MLPClassifier
from tasks.families.mlp_language_model import MLPLanguageModel
from tasks.families.rnn_language_model import RNNLanguageModel
from tasks.families.teacher_regression import TeacherRegression
from tasks.families.transformer_language_model import TransformerLanguageModel
from tasks.families.variational_autoencoder import VariationalAutoencoder
from tasks.families.vision_transformer import VisionTransformer
from tasks.family import NORMALIZED_RANGE

FAMILIES = {
    "autoencoder": Autoencoder(widths=(6, 3), batch_size=3),
    "click_model": ClickModel(num_fields=3, vocabulary_size=5, embedding_size=2, dense_size=3, width=4, batch_size=4),
    "conv_classifier": ConvClassifier(channels=(3, 2), batch_size=2, activation="tanh"),
    "mlp_classifier": MLPClassifier(widths=(5, 4), batch_size=3, use_norm=True, activation="gelu"),
    "mlp_language_model": MLPLanguageModel(context=2, embedding_size=3, width=4, batch_size=3),
    "rnn_gru": RNNLanguageModel(cell="gru", context=3, embedding_size=3, width=4, batch_size=2),
    "rnn_irnn": RNNLanguageModel(cell="irnn", context=3, embedding_size=3, width=4, batch_size=2),
    "rnn_lstm": RNNLanguageModel(cell="lstm", context=3, embedding_size=3, width=4, batch_size=2),
    "rnn_vanilla": RNNLanguageModel(cell="vanilla", context=3, embedding_size=3, width=4, batch_size=2),
    "teacher_regression": TeacherRegression(input_size=3, output_size=2, teacher_width=4, widths=(4,), batch_size=3),
    "teacher_regression_norm": TeacherRegression(
        input_size=3, output_size=2, teacher_width=4, teacher_norm=True, widths=(4,), use_norm=True, batch_size=3
    ),
    "transformer": TransformerLanguageModel(context=3, width=4, num_heads=2, batch_size=2),
    "variational_autoencoder": VariationalAutoencoder(widths=(5,), latent_size=2, batch_size=3),
    "vision_transformer": VisionTransformer(patch_size=4, width=4, num_heads=2, batch_size=2),
}


@pytest.fixture(params=sorted(FAMILIES))
def family(request):
    return FAMILIES[request.param]


def loss_and_grads(family, data, key):
    """One task from scratch: draw, initialise, and differentiate the loss on a first batch."""
    key_draw, key_init, key_batch, key_loss = jax.random.split(key, 4)
    draw = family.draw(key_draw)
    params = family.init(draw, key_init)
    return jax.value_and_grad(family.loss, argnums=1)(draw, params, family.batch(data, key_batch), key_loss)


@functools.cache
def jitted(family):
    return jax.jit(functools.partial(loss_and_grads, family))


def shapes(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), tree)


def assert_close(actual, expected):
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=1e-5)


def test_registry_is_covered():
    assert {type(family) for family in FAMILIES.values()} >= set(mixture.FAMILIES.values())


def test_loss_is_finite_and_every_parameter_has_a_gradient(family):
    grads = []
    for seed in range(4):  # a relu unit may be dead on one batch
        loss, grad = jitted(family)(family.load()[0], jax.random.key(seed))
        assert np.isfinite(loss) and 0 < loss < 20 * family.reference_loss
        grads.append(grad)
    totals = jax.tree.map(lambda *leaves: float(sum(jnp.sum(jnp.abs(leaf)) for leaf in leaves)), *grads)
    assert all(np.isfinite(total) and total > 0 for total in jax.tree.leaves(totals)), totals


def test_jit_equals_eager(family):
    data, key = family.load()[0], jax.random.key(1)
    with jax.disable_jit():
        eager = loss_and_grads(family, data, key)
    assert_close(jitted(family)(data, key), eager)


def test_vmap_equals_loop(family):
    data, keys = family.load()[0], jax.random.split(jax.random.key(2), 3)
    batched = jax.jit(jax.vmap(functools.partial(loss_and_grads, family), in_axes=(None, 0)))(data, keys)
    singles = [jitted(family)(data, key) for key in keys]
    assert_close(batched, jax.tree.map(lambda *leaves: jnp.stack(leaves), *singles))


def test_shapes_depend_on_the_family_alone(family):
    """Tracing with abstract keys proves it; strong types keep a second call from compiling again."""
    data = family.load()[0]

    def everything(key):
        draw = family.draw(key)
        return draw, family.init(draw, key), family.batch(data, key)

    abstract = shapes(jax.eval_shape(everything, jax.random.key(0)))
    assert not any(weak for _, _, weak in jax.tree.leaves(abstract, is_leaf=lambda x: isinstance(x, tuple) and len(x) == 3 and isinstance(x[2], bool)))
    params = jax.eval_shape(everything, jax.random.key(0))[1]
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))


def test_gradients_match_finite_differences(family):
    data = family.load()[0]
    with jax.enable_x64(True):
        key_draw, key_init, key_batch, key_loss = jax.random.split(jax.random.key(3), 4)
        draw = family.draw(key_draw)
        flat, unravel = jax.flatten_util.ravel_pytree(family.init(draw, key_init))
        assert flat.dtype == jnp.float64
        # Away from the kinks of relu at the initial zeros.
        flat = flat + 0.01 * jax.random.normal(jax.random.key(4), flat.shape)
        batch = family.batch(data, key_batch)
        loss = jax.jit(lambda flat: family.loss(draw, unravel(flat), batch, key_loss))
        grad = jax.grad(loss)(flat)
        for seed in range(3):
            direction = jax.random.normal(jax.random.key(seed), flat.shape)
            direction = direction / jnp.linalg.norm(direction)
            slope = (loss(flat + 1e-6 * direction) - loss(flat - 1e-6 * direction)) / 2e-6
            np.testing.assert_allclose(slope, grad @ direction, rtol=1e-5, atol=1e-8)


def test_equal_families_trace_once_and_travel(family):
    num_traces = collections.Counter()

    @functools.partial(jax.jit, static_argnums=0)
    def draw(family, key):
        num_traces[family] += 1
        return family.draw(key)

    twin = dataclasses.replace(family)
    other = pickle.loads(pickle.dumps(family))
    assert twin == family == other and hash(twin) == hash(family) == hash(other)
    for one in (family, twin, other):
        draw(one, jax.random.key(0))
    assert num_traces[family] == 1


def test_normalize_is_finite_bounded_and_monotone(family):
    reference = family.reference_loss
    losses = jnp.array([-1.0, 0.0, 1e-9, 0.5 * reference, reference, 2 * reference, 1e30, jnp.inf, jnp.nan])
    values = np.asarray(jax.vmap(family.normalize)(losses))
    low, high = NORMALIZED_RANGE
    assert np.all((values >= low) & (values <= high))
    assert np.all(np.diff(values[:-1]) >= 0) and values[-1] == high
    np.testing.assert_allclose(values[4], 0.0, atol=1e-6)
