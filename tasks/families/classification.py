"""What classifiers on a stored data set share: how a draw changes data and initial weights, and the loss."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from tasks.data import SOURCES
from tasks.families import draws
from velo import prng
from velo.shapes import Array, Float, Int, PRNGKeyArray

NUM_CLASSES = {name: source.num_classes for name, source in SOURCES.items() if source.kind in ("image", "table")}
INPUT_SHAPES = {name: SOURCES[name].input_shape for name in NUM_CLASSES}
IMAGES = tuple(name for name, shape in INPUT_SHAPES.items() if len(shape) == 3)


class ClassifierDraw(NamedTuple):
    """Noise makes a small data set impossible to memorise, so that tasks differ by more than their seeds."""

    input_scale: Float[Array, ""]
    input_noise: Float[Array, ""]  # standard deviation
    label_noise: Float[Array, ""]  # share of labels replaced by random ones, afresh in every batch
    init_scale: Float[Array, ""]


def draw_classifier(key: PRNGKeyArray) -> ClassifierDraw:
    uniform = jax.random.uniform(key, (4,))
    return ClassifierDraw(
        input_scale=jnp.exp(2.0 * uniform[0] - 1.0),
        input_noise=0.5 * uniform[1],
        label_noise=0.3 * uniform[2],
        init_scale=draws.init_scale(uniform[3]),
    )


def gather(data: tuple[Array, Array], key: PRNGKeyArray, batch_size: int) -> tuple[Array, Array]:
    """`batch_size` random examples, with replacement."""
    inputs, targets = data
    rows = draws.integers(key, (batch_size,), len(inputs))
    return inputs[rows], targets[rows]


def perturb(
    draw: ClassifierDraw, inputs: Float[Array, "batch ..."], labels: Int[Array, " batch"], num_classes: int,
    key: PRNGKeyArray,
) -> tuple[Array, Array]:  # fmt: skip
    key_input, key_label = prng.split(key)
    inputs = draw.input_scale * (inputs + draw.input_noise * prng.normal(key_input, inputs.shape))
    # One uniform number decides whether a label is replaced and by which: below the noise it is uniform again.
    uniform = prng.uniform(key_label, labels.shape)
    random_labels = (uniform / jnp.maximum(draw.label_noise, 1e-6) * num_classes).astype(labels.dtype)
    return inputs, jnp.where(uniform < draw.label_noise, jnp.minimum(random_labels, num_classes - 1), labels)
