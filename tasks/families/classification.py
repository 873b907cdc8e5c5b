"""What classifiers on stored data share: the draw, its noise on data and labels, and the loss."""

import abc
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tasks import prng
from tasks.data import SOURCES
from tasks.families import draws, layers
from tasks.family import Params, TaskFamily
from velo.shapes import Array, Float, Int, PRNGKeyArray

NUM_CLASSES = {name: source.num_classes for name, source in SOURCES.items() if source.kind in ("image", "table")}
INPUT_SHAPES = {name: SOURCES[name].input_shape for name in NUM_CLASSES}
IMAGES = tuple(name for name, shape in INPUT_SHAPES.items() if len(shape) == 3)
OBJECTIVES = ("cross_entropy", "squared_error")
"""squared_error is that of one-hot labels, averaged over the classes."""
SAMPLED_OBJECTIVES = ("cross_entropy", "cross_entropy", "cross_entropy", "squared_error")
"""Each as often as families sample it."""


class ClassifierDraw(NamedTuple):
    """Scales and noise.

    Noise keeps networks from memorising a small data set, so that tasks differ by more than their seeds.
    """

    input_scale: Float[Array, ""]
    input_noise: Float[Array, ""]  # standard deviation
    label_noise: Float[Array, ""]  # share of labels replaced by random ones, afresh in every batch
    init_scale: Float[Array, ""]

    def undisturbed(self) -> "ClassifierDraw":
        """The same draw with data as stored and initial parameters of their usual scale."""
        return self._replace(input_scale=None, input_noise=None, label_noise=None, init_scale=jnp.ones(()))


def draw_classifier(key: PRNGKeyArray) -> ClassifierDraw:
    """A random `ClassifierDraw`."""
    uniform = prng.uniform(key, (4,))
    return ClassifierDraw(
        input_scale=jnp.exp(2.0 * uniform[0] - 1.0),
        input_noise=0.5 * uniform[1],
        label_noise=0.3 * uniform[2],
        init_scale=draws.init_scale(uniform[3]),
    )


def gather(data: tuple[Array, Array], key: PRNGKeyArray, batch_size: int) -> tuple[Array, Array]:
    """`batch_size` random examples, with replacement; images that are stored as bytes get pixels in [-1, 1]."""
    inputs, targets = data
    rows = draws.integers(key, (batch_size,), len(inputs))
    chosen = inputs[rows]
    return chosen.astype(jnp.float32) / 127.5 - 1.0 if chosen.dtype == jnp.uint8 else chosen, targets[rows]


def perturb(
    draw: ClassifierDraw, inputs: Float[Array, "batch ..."], labels: Int[Array, " batch"], num_classes: int,
    key: PRNGKeyArray,
) -> tuple[Array, Array]:  # fmt: skip
    """(scaled inputs with noise, labels with noise); both unchanged if the draw is undisturbed."""
    if draw.input_noise is None:
        return inputs, labels
    key_input, key_label = prng.split(key)
    inputs = draw.input_scale * (inputs + draw.input_noise * prng.normal(key_input, inputs.shape))
    # One uniform number decides whether a label is replaced and by which: below the noise it is uniform again.
    uniform = prng.uniform(key_label, labels.shape)
    random_labels = (uniform / jnp.maximum(draw.label_noise, 1e-6) * num_classes).astype(labels.dtype)
    return inputs, jnp.where(uniform < draw.label_noise, jnp.minimum(random_labels, num_classes - 1), labels)


class Classifier(TaskFamily):
    """A classifier of a stored data set, under cross-entropy or squared error of one-hot labels."""

    batch_size: int
    objective: str

    def check(self, *sizes: str, datasets=tuple(NUM_CLASSES)) -> None:
        """Raises a ValueError that names the field if one is out of range; fields in `sizes` must be positive."""
        layers.check_fields(self, *sizes, "batch_size", dataset=datasets, objective=OBJECTIVES)

    @property
    def num_classes(self) -> int:
        """Number of classes of the data set."""
        return NUM_CLASSES[self.dataset]

    @property
    def reference_loss(self) -> float:
        num = self.num_classes
        return math.log(num) if self.objective == "cross_entropy" else (1.0 - 1.0 / num) / num

    @property
    def loss_bound(self) -> float:
        return super().loss_bound if self.objective == "squared_error" else math.log(2 * self.num_classes)

    def draw(self, key):
        return draw_classifier(key)

    def batch(self, data, key):
        return gather(data, key, self.batch_size)

    @abc.abstractmethod
    def logits(
        self, params: Params, inputs: Float[Array, "batch ..."], key: PRNGKeyArray
    ) -> Float[Array, "batch classes"]:
        """The network's outputs; `key` is for dropout."""

    def loss(self, draw, params, batch, key):
        inputs, labels = perturb(draw, *batch, num_classes=self.num_classes, key=key)
        logits = self.logits(params, inputs, prng.fold_in(key, 1))
        if self.objective == "squared_error":
            return layers.squared_error(logits, jax.nn.one_hot(labels, self.num_classes))
        return layers.cross_entropy(logits, labels)
