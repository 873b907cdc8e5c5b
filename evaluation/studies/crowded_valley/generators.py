"""P2, P5 and P8: the benchmark's variational autoencoder and its character-level recurrent network."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from evaluation.studies.crowded_valley import images, text
from evaluation.studies.crowded_valley.classifiers import pixels
from evaluation.studies.crowded_valley.epochs import Examples, Problem
from tasks import prng
from tasks.families import language, layers, recurrence
from tasks.family import Params
from velo.shapes import Array, Float, Int, PRNGKeyArray

LATENT_SIZE = 8
LEAK, VAE_DROPOUT, RNN_DROPOUT = 0.3, 0.2, 0.2


@dataclasses.dataclass(frozen=True)
class ConvVAE(Problem):
    """Squared error summed over pixels, plus the KL divergence of the latent variables from a standard normal.

    Encoder: three 4 x 4 convolutions, strides 2, 2 and 1. Decoder: two dense layers to a small image, three transposed
    convolutions, strides 2, 1 and 1, and a dense layer.
    """

    name: str
    """digits or grey_patches (packaged); mnist or fashion_mnist (public)."""
    divisor: int = 1
    """Divisor of the numbers of channels."""
    halved: bool = False

    def __post_init__(self):
        layers.check_positive(self, "divisor")
        layers.check_choice("ConvVAE", "name", self.name, ("digits", "grey_patches", "mnist", "fashion_mnist"))

    def load(self):
        if self.name == "digits":
            return images.digits(self.halved)
        if self.name == "grey_patches":
            return images.grey_patches(self.halved)
        return images.public(self.name)

    @property
    def side(self) -> int:
        """Side length of an image in pixels."""
        return 14 if self.halved else 28

    @property
    def reference_loss(self) -> float:
        return 0.07 * self.side**2

    def init(self, key):
        channels = max(2, 64 // self.divisor)
        small = -(-self.side // 4)
        shapes = layers.stack("encoder", [1, channels, channels, channels], (4, 4))
        shapes |= layers.stack("decoder", [1, channels, channels, channels], (4, 4))
        shapes |= {
            "latent": (small * small * channels, 2 * LATENT_SIZE),
            "dense_0": (LATENT_SIZE, 24), "dense_1": (24, small * small),
            "output": ((2 * small) ** 2 * channels, self.side**2),
        }  # fmt: skip
        return layers.init_layers(key, shapes, "glorot_normal")

    def _loss(self, params: Params, examples: Examples, key: PRNGKeyArray, dropout: float) -> Float[Array, ""]:
        inputs = pixels(examples[0])
        key_latent, key_dropout = prng.split(key)

        def activate(x, place):
            return layers.drop_out(jax.nn.leaky_relu(x, LEAK), dropout, key_dropout, place)

        x = inputs
        for index, stride in enumerate((2, 2, 1)):
            x = activate(layers.conv(params[f"encoder_{index}"], x, stride), index)
        mean, log_deviation = jnp.split(layers.dense(params["latent"], x.reshape(len(x), -1)), 2, axis=-1)
        # The network outputs the log-variance, as in the benchmark; half of it is the log-deviation.
        log_deviation = 0.5 * log_deviation
        x = mean + jnp.exp(log_deviation) * prng.normal(key_latent, mean.shape)
        for index in range(2):
            x = jax.nn.leaky_relu(layers.dense(params[f"dense_{index}"], x), LEAK)
        small = math.isqrt(x.shape[-1])
        x = dilate(x.reshape(len(x), small, small, 1))
        for index in range(3):
            x = activate(layers.conv(params[f"decoder_{index}"], x), 3 + index)
        decoded = jax.nn.sigmoid(layers.dense(params["output"], x.reshape(len(x), -1)))
        error = jnp.sum(jnp.square(decoded - inputs.reshape(len(x), -1)), axis=1)
        divergence = -0.5 * (1.0 + 2.0 * log_deviation - jnp.square(mean) - jnp.exp(2.0 * log_deviation))
        return jnp.mean(error + jnp.sum(divergence, axis=1))

    def loss(self, params, examples, key):
        return self._loss(params, examples, key, VAE_DROPOUT)

    def metric(self, params, examples, key):
        return self._loss(params, examples, key, 0.0)


def dilate(x: Float[Array, "batch height width channels"]) -> Float[Array, "batch double_height double_width channels"]:
    """Inserts zeros between the pixels, so that a convolution of the result is a transposed one of stride 2."""
    number, height, width, channels = x.shape
    spread = jnp.zeros((number, height, 2, width, 2, channels), x.dtype).at[:, :, 0, :, 0].set(x)
    return spread.reshape(number, 2 * height, 2 * width, channels)


@dataclasses.dataclass(frozen=True)
class CharRNN(Problem):
    """Two LSTM layers that predict the next character at every position; the metric is the error rate.

    Deviation: windows are shuffled and each starts from a zero state; the benchmark carries the state over.
    """

    width: int = 128
    length: int = 50

    def __post_init__(self):
        layers.check_positive(self, "width", "length")

    def load(self):
        return text.windows(self.length)

    @property
    def reference_loss(self) -> float:
        return math.log(text.VOCABULARY_SIZE)

    def init(self, key):
        shapes = recurrence.cell_shapes("first", "lstm", self.width, self.width)
        shapes |= recurrence.cell_shapes("second", "lstm", self.width, self.width)
        shapes["output"] = (self.width, text.VOCABULARY_SIZE)
        tables = {"embedding": (text.VOCABULARY_SIZE, self.width)}
        params = layers.init_layers(key, shapes, "glorot_normal", 1.0, tables, 1.0 / np.sqrt(self.width))
        for name in ("first", "second"):
            params = recurrence.adjust_init(params, name, "lstm")
        return params

    def _logits(
        self, params: Params, tokens: Int[Array, "batch time"], key: PRNGKeyArray | None
    ) -> Float[Array, "batch time vocabulary"]:
        def drop(x, place):
            return x if key is None else layers.drop_out(x, RNN_DROPOUT, key, place)

        x = drop(language.embed(params["embedding"], tokens.T), 0)
        for place, name in enumerate(("first", "second")):
            x = drop(recurrence.run(params, name, "lstm", x), 1 + place)
        return layers.dense(params["output"], jnp.swapaxes(x, 0, 1))

    def loss(self, params, examples, key):
        (tokens,) = examples
        return layers.cross_entropy(self._logits(params, tokens[:, :-1], key), tokens[:, 1:])

    def metric(self, params, examples, key):
        (tokens,) = examples
        logits = self._logits(params, tokens[:, :-1], None)
        wrong = jnp.mean(jnp.argmax(logits, axis=-1) != tokens[:, 1:])
        return jnp.where(jnp.all(jnp.isfinite(logits)), wrong, jnp.nan)
