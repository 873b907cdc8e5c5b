"""P3, P4, P6 and P7: the benchmark's convolutional classifiers, at its widths or a fraction of them."""

import abc
import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from evaluation.studies.crowded_valley import images
from evaluation.studies.crowded_valley.epochs import Examples, Problem
from tasks.families import draws, layers
from tasks.family import Params
from velo.shapes import Array, Float, PRNGKeyArray

DATA: dict[tuple[str, str], tuple[int, int, int]] = {
    ("digits", "packaged"): (28, 1, 10),
    ("china", "packaged"): (32, 3, 12),
    ("china_flower", "packaged"): (32, 3, 24),
    ("fashion_mnist", "public"): (28, 1, 10),
    ("cifar10", "public"): (32, 3, 10),
    ("cifar100", "public"): (32, 3, 100),
    ("svhn", "public"): (32, 3, 10),
}
"""(name, source) -> (side, channels, classes)."""


@dataclasses.dataclass(frozen=True)
class Classifier(Problem):
    """Cross-entropy plus the penalty l2 / 2 |kernels|^2; the metric is the error rate."""

    name: str
    """Name of the data; (name, source) is a key of `DATA`."""
    source: str = "packaged"
    divisor: int = 1
    """Divisor of all widths."""
    halved: bool = False
    """Whether images have half the side length."""
    l2: float = 0.0

    def __post_init__(self):
        layers.check_positive(self, "divisor")
        if (self.name, self.source) not in DATA:
            known = ", ".join(f"{name} ({source})" for name, source in DATA)
            raise ValueError(f"Classifier: data must be one of {known}, got {self.name} ({self.source})")
        if self.halved and self.source == "public":
            raise ValueError("Classifier: public data are not halved")

    def load(self):
        if self.source == "public":
            return images.public(self.name)
        if self.name == "digits":
            return images.digits(self.halved)
        return images.patches(self.name, 32, self.halved)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(side, channels, classes)."""
        side, channels, classes = DATA[self.name, self.source]
        return side // 2 if self.halved else side, channels, classes

    def widths(self, *sizes: int) -> list[int]:
        """The benchmark's widths divided by `divisor`, at least 2."""
        return [max(2, size // self.divisor) for size in sizes]

    @property
    def reference_loss(self) -> float:
        return math.log(self.shape[2])

    @abc.abstractmethod
    def logits(
        self, params: Params, inputs: Float[Array, "batch height width channels"], key: PRNGKeyArray | None
    ) -> Float[Array, "batch classes"]:
        """The network's outputs, with dropout if a key is given."""

    def loss(self, params: Params, examples: Examples, key: PRNGKeyArray) -> Float[Array, ""]:
        inputs, labels = examples
        loss = layers.cross_entropy(self.logits(params, pixels(inputs), key), labels)
        if not self.l2:
            return loss
        kernels = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
        return loss + 0.5 * self.l2 * sum(jnp.sum(jnp.square(kernel)) for kernel in kernels)

    def metric(self, params: Params, examples: Examples, key: PRNGKeyArray) -> Float[Array, ""]:
        inputs, labels = examples
        logits = self.logits(params, pixels(inputs), None)
        wrong = jnp.mean(jnp.argmax(logits, axis=-1) != labels)
        # Non-finite logits all predict one class, whose error rate would look like that of a valid run.
        return jnp.where(jnp.all(jnp.isfinite(logits)), wrong, jnp.nan)


def pixels(inputs: Any) -> Float[Array, "..."]:
    """Images as floats; bytes are scaled to [0, 1]."""
    return inputs.astype(jnp.float32) / 255.0 if inputs.dtype == jnp.uint8 else inputs


def valid_conv(layer: dict[str, Array], x: Float[Array, "batch height width inputs"]) -> Float[Array, "..."]:
    """Convolution without padding, for kernels of odd size."""
    edge = len(layer["w"]) // 2
    return layers.conv(layer, x)[:, edge:-edge, edge:-edge]


def _pooled(side: int) -> int:
    """Side length of an image after pooling."""
    return -(-side // 2)


def pool(x: Float[Array, "batch height width channels"]) -> Float[Array, "batch half_height half_width channels"]:
    """2 x 2 max pooling; a last odd row or column is pooled on its own."""
    height, width = x.shape[1:3]
    x = jnp.pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), constant_values=-1e30)
    return jnp.max(x.reshape(len(x), _pooled(height), 2, _pooled(width), 2, x.shape[-1]), axis=(2, 4))


@dataclasses.dataclass(frozen=True)
class TwoConv(Classifier):
    """2c2d: two 5 x 5 convolutions and two dense layers.

    Weights are normal with standard deviation .05, clipped at two deviations. Biases are .05.
    """

    def init(self, key):
        side, channels, classes = self.shape
        first, second, dense = self.widths(32, 64, 1024)
        rest = _pooled(_pooled(side))
        shapes = {
            "conv_0": (5, 5, channels, first), "conv_1": (5, 5, first, second),
            "dense_0": (rest * rest * second, dense), "dense_1": (dense, classes),
        }  # fmt: skip
        kernels = draws.normals(key, shapes)
        return {
            name: {"w": 0.05 * jnp.clip(kernels[name], -2.0, 2.0), "b": jnp.full(shape[-1], 0.05)}
            for name, shape in shapes.items()
        }

    def logits(self, params, inputs, key):
        x = inputs
        for index in range(2):
            x = pool(jax.nn.relu(layers.conv(params[f"conv_{index}"], x)))
        x = jax.nn.relu(layers.dense(params["dense_0"], x.reshape(len(x), -1)))
        return layers.dense(params["dense_1"], x)


@dataclasses.dataclass(frozen=True)
class ThreeConv(Classifier):
    """3c3d: three convolutions, the first two without padding, and three dense layers, by Glorot's initialisation."""

    def init(self, key):
        side, channels, classes = self.shape
        first, second, third, wide, narrow = self.widths(64, 96, 128, 512, 256)
        rest = _pooled(_pooled(_pooled(side - 4) - 2))
        shapes = {
            "conv_0": (5, 5, channels, first), "conv_1": (3, 3, first, second), "conv_2": (3, 3, second, third),
            "dense_0": (rest * rest * third, wide), "dense_1": (wide, narrow), "dense_2": (narrow, classes),
        }  # fmt: skip
        return layers.init_layers(key, shapes, "glorot_normal")

    def logits(self, params, inputs, key):
        x = layers.max_pool(jax.nn.relu(valid_conv(params["conv_0"], inputs)))
        x = layers.max_pool(jax.nn.relu(valid_conv(params["conv_1"], x)))
        x = layers.max_pool(jax.nn.relu(layers.conv(params["conv_2"], x)))
        return layers.mlp(params, "dense", 3, x.reshape(len(x), -1), "relu")


@dataclasses.dataclass(frozen=True)
class AllConv(Classifier):
    """All-CNN-C (1412.6806): nine convolutions, two with stride 2, dropout .2, .5 and .5, and global mean pooling."""

    def init(self, key):
        _, channels, classes = self.shape
        first, second = self.widths(96, 192)
        sizes = [channels, *[first] * 3, *[second] * 5, classes]
        shapes = layers.stack("conv", sizes[:8], (3, 3))
        shapes |= {f"conv_{index}": (1, 1, sizes[index], sizes[index + 1]) for index in (7, 8)}
        return layers.init_layers(key, shapes, "he_normal")

    def logits(self, params, inputs, key):
        def drop(x, rate, place):
            return x if key is None else layers.drop_out(x, rate, key, place)

        x = drop(inputs, 0.2, 0)
        for index in range(6):
            x = jax.nn.relu(layers.conv(params[f"conv_{index}"], x, 2 if index in (2, 5) else 1))
            x = drop(x, 0.5, index) if index in (2, 5) else x
        x = jax.nn.relu(valid_conv(params["conv_6"], x))
        for index in (7, 8):
            x = jax.nn.relu(layers.dense(_as_dense(params[f"conv_{index}"]), x))
        return jnp.mean(x, axis=(1, 2))


def _as_dense(layer: dict[str, Array]) -> dict[str, Array]:
    """A 1 x 1 convolution as a dense layer."""
    return {"w": layer["w"][0, 0], "b": layer["b"]}


@dataclasses.dataclass(frozen=True)
class WideResNet(Classifier):
    """WRN-16-4 (1605.07146): three groups of two residual blocks.

    Deviation: batch norm uses the statistics of the current batch, also for the metric.
    """

    GROUPS: ClassVar = ((64, 1), (128, 2), (256, 2))

    def _blocks(self) -> list[tuple[str, int, int, int]]:
        """(name, inputs, outputs, stride) of every block."""
        (size,) = self.widths(16)
        found = []
        for group, (width, stride) in enumerate(self.GROUPS):
            (width,) = self.widths(width)
            found += [(f"{group}_0", size, width, stride), (f"{group}_1", width, width, 1)]
            size = width
        return found

    def init(self, key):
        _, channels, classes = self.shape
        blocks = self._blocks()
        shapes: dict[str, tuple[int, ...]] = {"enter": (3, 3, channels, blocks[0][1])}
        norms = {}
        for name, inputs, outputs, _ in blocks:
            shapes |= {f"first_{name}": (3, 3, inputs, outputs), f"second_{name}": (3, 3, outputs, outputs)}
            norms |= {f"norm_first_{name}": layers.init_norm(inputs), f"norm_second_{name}": layers.init_norm(outputs)}
            if inputs != outputs:
                shapes[f"skip_{name}"] = (1, 1, inputs, outputs)
        shapes["output"] = (blocks[-1][2], classes)
        norms["norm_output"] = layers.init_norm(blocks[-1][2])
        return layers.init_layers(key, shapes, "he_normal") | norms

    def logits(self, params, inputs, key):
        x = layers.conv(params["enter"], inputs)
        for name, _, _, stride in self._blocks():
            hidden = jax.nn.relu(layers.normalize(params[f"norm_first_{name}"], x, "batch"))
            if f"skip_{name}" in params:
                x = layers.dense(_as_dense(params[f"skip_{name}"]), hidden[:, ::stride, ::stride])
            hidden = layers.conv(params[f"first_{name}"], hidden, stride)
            hidden = jax.nn.relu(layers.normalize(params[f"norm_second_{name}"], hidden, "batch"))
            x = x + layers.conv(params[f"second_{name}"], hidden)
        x = jax.nn.relu(layers.normalize(params["norm_output"], x, "batch"))
        return layers.dense(params["output"], jnp.mean(x, axis=(1, 2)))
