"""Click prediction from rare tokens: large embedding tables with sparse gradients (Naumov et al. 2019, DLRM)."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tasks import prng
from tasks.families import draws, layers
from tasks.families.sampling import choice, log_uniform_power
from tasks.family import TaskFamily
from velo.shapes import Array, Float


class ClickDraw(NamedTuple):
    """The true law of clicks, and the scale of the initial parameters."""

    token_bias: Float[Array, "fields vocabulary"]
    token_vectors: Float[Array, "fields vocabulary taste"]
    dense_weights: Float[Array, " dense"]
    sharpness: Float[Array, ""]  # factor on the true log odds
    skew: Float[Array, ""]  # above one makes frequent tokens more frequent
    init_scale: Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class ClickModel(TaskFamily):
    """Embeds `num_fields` tokens and projects dense features; an MLP reads all inner products and the projection.

    Tokens follow Zipf's law. Clicks are random. Their log odds are the sum of a bias for each token, the inner products
    of hidden vectors of neighbouring fields, and a linear function of the dense features.
    """

    dataset: str = "none"
    num_fields: int = 4
    vocabulary_size: int = 256
    embedding_size: int = 4
    dense_size: int = 8
    width: int = 16
    activation: str = "relu"
    initializer: str = "he_normal"
    batch_size: int = 64

    def __post_init__(self):
        sizes = ("num_fields", "vocabulary_size", "embedding_size", "dense_size", "width", "batch_size")
        layers.check_fields(self, *sizes, dataset=("none",))

    @classmethod
    def sample(cls, rng: np.random.Generator, scale: int = 1) -> "ClickModel":
        """A random architecture; `scale` as in `TaskMixture`."""
        return cls(
            num_fields=choice(rng, (2, 4, 8)),
            vocabulary_size=log_uniform_power(rng, 64, 256 * scale),
            embedding_size=log_uniform_power(rng, 2, 8 * scale),
            dense_size=choice(rng, (4, 8)),
            width=log_uniform_power(rng, 8, 32 * scale),
            activation=choice(rng, sorted(layers.ACTIVATIONS)),
            initializer=choice(rng, sorted(layers.INITIALIZERS)),
            batch_size=log_uniform_power(rng, 16, 64 * scale),
        )

    @property
    def reference_loss(self) -> float:
        return math.log(2.0)

    def draw(self, key):
        key_uniform, key_truth = prng.split(key)
        uniform = prng.uniform(key_uniform, (3,))
        tokens = (self.num_fields, self.vocabulary_size)
        truth = draws.normals(key_truth, {"bias": tokens, "vectors": (*tokens, 2), "dense": (self.dense_size,)})
        return ClickDraw(
            token_bias=truth["bias"] * self.num_fields**-0.5,
            token_vectors=truth["vectors"] * (2 * self.num_fields) ** -0.25,
            dense_weights=truth["dense"] * self.dense_size**-0.5,
            sharpness=draws.log_uniform(uniform[0], 1.0, 4.0),
            skew=draws.log_uniform(uniform[1], 0.7, 1.5),
            init_scale=draws.init_scale(uniform[2]),
        )

    def init(self, draw, key):
        num_inputs = self.num_fields + 1
        joined = num_inputs * (num_inputs - 1) // 2 + self.embedding_size
        shapes = {"dense": (self.dense_size, self.embedding_size)} | layers.stack("top", [joined, self.width, 1])
        tables = {"embedding": (self.num_fields * self.vocabulary_size, self.embedding_size)}
        deviation = self.embedding_size**-0.5
        return layers.init_layers(key, shapes, self.initializer, draw.init_scale, tables, table_deviation=deviation)

    def batch(self, data, key):
        """Uniform numbers: the draw turns them into tokens, features and clicks."""
        return prng.uniform(key, (self.batch_size, self.num_fields + self.dense_size + 1))

    def _examples(self, draw: ClickDraw, uniform: Float[Array, "batch numbers"]) -> tuple[Array, Array, Array]:
        """(tokens, dense features of variance one, clicks)."""
        tokens = draws.zipf(uniform[:, : self.num_fields] ** draw.skew, self.vocabulary_size)
        features = math.sqrt(12.0) * (uniform[:, self.num_fields : -1] - 0.5)
        fields = jnp.arange(self.num_fields)[None]
        vectors = draw.token_vectors[fields, tokens]
        pairs = jnp.sum(vectors * jnp.roll(vectors, 1, axis=1), axis=(1, 2))
        odds = jnp.sum(draw.token_bias[fields, tokens], axis=1) + pairs + features @ draw.dense_weights
        return tokens, features, uniform[:, -1] < jax.nn.sigmoid(draw.sharpness * odds)

    def loss(self, draw, params, batch, key):
        tokens, features, clicks = self._examples(draw, batch)
        rows = tokens + self.vocabulary_size * jnp.arange(self.num_fields)[None]
        dense = layers.ACTIVATIONS[self.activation](layers.dense(params["dense"], features))
        vectors = jnp.concatenate([params["embedding"][rows], dense[:, None]], axis=1)
        first, second = np.triu_indices(self.num_fields + 1, 1)
        products = jnp.einsum("bie,bje->bij", vectors, vectors)[:, first, second]
        odds = layers.mlp(params, "top", 2, jnp.concatenate([products, dense], axis=1), self.activation)[:, 0]
        return jnp.mean(jax.nn.softplus(jnp.where(clicks, -odds, odds)))
