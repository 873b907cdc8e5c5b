"""Tasks of the study of DoG: least squares with a known solution, and networks that start from pretrained weights."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tasks import data, inner_loop, prng
from tasks.families import layers
from tasks.families.conv_classifier import ConvClassifier
from tasks.families.mlp_classifier import MLPClassifier
from tasks.family import TaskFamily
from tasks.wrappers.undisturbed import Undisturbed

NUM_CLASSES = 5
"""Number of classes of each half: the network is trained on the digits below it, then on those from it on."""
PRETRAINING_STEPS = 600
TAIL = 1.5
"""Degrees of freedom of Student's t-distribution for heavy-tailed noise; its variance is infinite."""


@dataclasses.dataclass(frozen=True)
class LeastSquares(TaskFamily):
    """0.5 (a x - b)^2 with b = a x* + noise, fresh examples in every batch, from x = 0.

    The covariance of a has eigenvalues that are log-spaced from 1 to 1 / `condition`.
    """

    dataset: str = "none"
    size: int = 100
    condition: float = 1e3
    noise: float = 0.3
    """Noise of b: its standard deviation, or the scale of Student's t-distribution."""
    has_heavy_tails: bool = False
    batch_size: int = 16

    def __post_init__(self):
        layers.check_positive(self, "size", "batch_size")

    @property
    def reference_loss(self) -> float:
        """The loss at x = 0: half of the variance of b (for normal noise)."""
        return 0.5 * (float(self.eigenvalues() @ self.solution() ** 2) + self.noise**2)

    def eigenvalues(self) -> np.ndarray:
        """[size] eigenvalues of the covariance of a."""
        return np.geomspace(1.0, 1.0 / self.condition, self.size)

    def solution(self) -> np.ndarray:
        """[size] the solution x*, of norm about 1."""
        return np.random.default_rng(0).normal(size=self.size) / np.sqrt(self.size)

    def draw(self, key):
        return ()

    def init(self, draw, key):
        return {"x": jnp.zeros(self.size)}

    def batch(self, data, key):
        key_input, key_noise = prng.split(key)
        inputs = prng.normal(key_input, (self.batch_size, self.size))
        inputs = inputs * jnp.asarray(np.sqrt(self.eigenvalues()), jnp.float32)[None]
        shape = (self.batch_size,)
        noise = jax.random.t(key_noise, TAIL, shape) if self.has_heavy_tails else prng.normal(key_noise, shape)
        return inputs, inputs @ jnp.asarray(self.solution(), jnp.float32) + self.noise * noise

    def loss(self, draw, params, batch, key):
        inputs, targets = batch
        return 0.5 * jnp.mean(jnp.square(inputs @ params["x"] - targets))


@functools.cache
def split_digits(first: bool):
    """(train, valid) pairs of (images, labels) of the digits below 5, or of those from 5 on, relabelled from 0."""
    splits = []
    with jax.ensure_compile_time_eval():
        for images, labels in data.load("digits"):
            chosen = np.flatnonzero((np.asarray(labels) < NUM_CLASSES) == first)
            splits.append((images[chosen], labels[chosen] - (0 if first else NUM_CLASSES)))
    return tuple(splits)


@dataclasses.dataclass(frozen=True)
class HalfDigits(ConvClassifier):
    """The network on one half of the classes."""

    channels: tuple[int, ...] = (8, 16)
    first: bool = True
    """Whether the classes are the digits below five."""

    @property
    def num_classes(self) -> int:
        return NUM_CLASSES

    def load(self):
        return split_digits(self.first)


@functools.cache
def _pretrained() -> Any:
    """Weights of the network after training with Adam on the first half of the classes."""
    family = Undisturbed(HalfDigits())
    tx = optax.adam(3e-3)
    with jax.ensure_compile_time_eval():
        draw = family.draw(jax.random.key(0))
        state = inner_loop.start(family, tx, draw, jax.random.key(1))
        train = jax.jit(lambda state, data: inner_loop.train(
            family, tx, draw, state, data, jax.random.key(2), num_steps=PRETRAINING_STEPS)[0])  # fmt: skip
        return jax.tree.map(np.asarray, train(state, family.load()[0]).params)


@dataclasses.dataclass(frozen=True)
class FineTuning(HalfDigits):
    """Fine-tunes all weights, pretrained on the first half of the classes, on the second; the last layer is new."""

    first: bool = False

    def load(self):
        _pretrained()  # pretrain before anything is traced
        return super().load()

    def init(self, draw, key):
        fresh = super().init(draw, key)
        return {**jax.tree.map(jnp.asarray, _pretrained()), "output": fresh["output"]}


@functools.cache
def _features():
    """(train, valid) pairs of (features, labels) of the second half of the classes, scaled to variance one."""
    family = HalfDigits()
    weights = _pretrained()

    def last_layer(images):
        x = images
        for index in range(len(family.channels)):
            x = layers.conv(weights[f"conv_{index}"], x, family.later_stride if index else family.stride)
            x = jax.nn.relu(x)
        return x.reshape(len(x), -1)

    with jax.ensure_compile_time_eval():
        splits = [(last_layer(images), labels) for images, labels in split_digits(False)]
        scale = jnp.std(splits[0][0])
        return tuple((features / scale, labels) for features, labels in splits)


@dataclasses.dataclass(frozen=True)
class LinearProbe(MLPClassifier):
    """Softmax regression on the frozen network's last convolution, on the second half of the classes."""

    widths: tuple[int, ...] = ()

    @property
    def num_classes(self) -> int:
        return NUM_CLASSES

    def init(self, draw, key):
        size = _features()[0][0].shape[1]
        return layers.init_layers(key, layers.stack("dense", [size, NUM_CLASSES]), self.initializer, draw.init_scale)

    def logits(self, params, inputs, key):
        return layers.dense(params["dense_0"], inputs)

    def load(self):
        return _features()
