"""What classifiers on a stored data set share: how a draw changes data and initial weights, and the loss."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


from velo.shapes import Array, Float, Int, PRNGKeyArray

NUM_CLASSES = {"digits": 10, "breast_cancer": 2}
INPUT_SHAPES = {"digits": (8, 8, 1), "breast_cancer": (30,)}


class ClassifierDraw(NamedTuple):
    """Noise makes a small data set impossible to memorise, so that tasks differ by more than their seeds."""

    input_scale: Float[Array, ""]
    input_noise: Float[Array, ""]  # standard deviation
    label_noise: Float[Array, ""]  # share of labels replaced by random ones, afresh in every batch
    init_scale: Float[Array, ""]


def draw_classifier(key: PRNGKeyArray) -> ClassifierDraw:
    keys = jax.random.split(key, 4)
    return ClassifierDraw(
        input_scale=jnp.exp(jax.random.uniform(keys[0], minval=-1.0, maxval=1.0)),
        input_noise=jax.random.uniform(keys[1], maxval=0.5),
        label_noise=jax.random.uniform(keys[2], maxval=0.3),
        init_scale=jnp.exp(jax.random.uniform(keys[3], minval=-0.7, maxval=0.7)),
    )


def gather(data: tuple[Array, Array], key: PRNGKeyArray, batch_size: int) -> tuple[Array, Array]:
    """`batch_size` random examples, with replacement."""
    inputs, targets = data
    rows = jax.random.randint(key, (batch_size,), 0, len(inputs))
    return inputs[rows], targets[rows]


def perturb(
    draw: ClassifierDraw, inputs: Float[Array, "batch ..."], labels: Int[Array, " batch"], num_classes: int,
    key: PRNGKeyArray,
) -> tuple[Array, Array]:  # fmt: skip
    key_input, key_flip, key_label = jax.random.split(key, 3)
    inputs = draw.input_scale * (inputs + draw.input_noise * jax.random.normal(key_input, inputs.shape))
    flipped = jax.random.uniform(key_flip, labels.shape) < draw.label_noise
    return inputs, jnp.where(flipped, jax.random.randint(key_label, labels.shape, 0, num_classes), labels)


def scale_weights(params, scale: Float[Array, ""]):
    """Initial matrices and kernels times `scale`; biases and gains as they are."""
    return jax.tree.map(lambda leaf: leaf * scale if leaf.ndim > 1 else leaf, params)
