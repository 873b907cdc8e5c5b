"""Translation of a random language: an encoder and a decoder with attention; endless data."""

import dataclasses
import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from tasks import prng
from tasks.families import attention, draws, layers
from tasks.families.sampling import choice, log_uniform_power
from tasks.family import TaskFamily
from velo.shapes import Array, Float, Int


class TranslationDraw(NamedTuple):
    """The language, noise on tokens, and the scale of the initial parameters."""

    dictionary: Int[Array, "2 vocabulary"]  # a token's translations
    order: Int[Array, " length"]  # source position of each target word
    token_noise: Float[Array, ""]  # share of source tokens replaced by random ones, afresh in every batch
    init_scale: Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class SequenceToSequence(TaskFamily):
    """One transformer block reads the source; another writes the target, with attention to the output of the first.

    The target is the source in another word order and another vocabulary. Each word has two translations; the parity of
    the word before it, in the target's order, decides which one is right.
    """

    dataset: str = "none"
    vocabulary_size: int = 32
    length: int = 8
    width: int = 32
    num_heads: int = 2
    initializer: str = "lecun_normal"
    batch_size: int = 16

    def __post_init__(self):
        layers.check_fields(self, "vocabulary_size", "length", "width", "num_heads", "batch_size")
        attention.check_heads(self, self.width, self.num_heads)

    @classmethod
    def sample(cls, rng: np.random.Generator, scale: int = 1) -> "SequenceToSequence":
        """A random architecture; `scale` as in `TaskMixture`."""
        return cls(
            vocabulary_size=log_uniform_power(rng, 16, 64 * scale),
            length=log_uniform_power(rng, 4, 8 * min(scale, 4)),
            width=log_uniform_power(rng, 16, 32 * scale),
            num_heads=choice(rng, (1, 2, 4)),
            initializer=choice(rng, sorted(layers.INITIALIZERS)),
            batch_size=log_uniform_power(rng, 8, 16 * scale),
        )

    @property
    def reference_loss(self) -> float:
        return math.log(self.vocabulary_size)

    @property
    def loss_bound(self) -> float:
        return math.log(2 * self.vocabulary_size)

    def draw(self, key):
        sizes = [self.vocabulary_size, self.vocabulary_size, self.length]
        uniform = prng.uniform(key, (sum(sizes) + 2,))
        first, second, order, rest = jnp.split(uniform, np.cumsum(sizes))
        return TranslationDraw(
            dictionary=jnp.stack([draws.permutation(first), draws.permutation(second)]),
            order=draws.permutation(order),
            token_noise=0.2 * rest[0],
            init_scale=draws.init_scale(rest[1]),
        )

    def init(self, draw, key):
        width = self.width
        (encoder, encoder_norms), (decoder, decoder_norms) = (
            attention.block_layers(name, width) for name in ("encoder", "decoder")
        )
        shapes = encoder | decoder
        shapes |= {"look": (width, width), "memory": (width, 2 * width), "bring": (width, width)}
        shapes["output"] = (width, self.vocabulary_size)
        norms = encoder_norms | decoder_norms
        norms |= {name: layers.init_norm(width) for name in ("norm_look", "norm_memory", "norm_output")}
        tables = {
            "source": (self.vocabulary_size, width),
            "target": (self.vocabulary_size, width),
            "source_position": (self.length, width),
            "target_position": (self.length, width),
        }
        return layers.init_layers(key, shapes, self.initializer, draw.init_scale, tables, table_deviation=0.3) | norms

    def batch(self, data, key):
        """Uniform numbers for the source's tokens and their noise."""
        return prng.uniform(key, (self.batch_size, 2, self.length))

    def _sentences(self, draw: TranslationDraw, uniform: Float[Array, "batch 2 length"]) -> tuple[Array, Array]:
        """(source with noise, target)."""
        clean = draws.zipf(uniform[:, 0], self.vocabulary_size)
        ordered = clean[:, draw.order]
        parity = jnp.pad(ordered[:, :-1], ((0, 0), (1, 0))) % 2
        noisy, noise = uniform[:, 1], jnp.maximum(draw.token_noise, 1e-6)
        replaced = jnp.minimum(noisy / noise * self.vocabulary_size, self.vocabulary_size - 1.0)
        source = jnp.where(noisy < draw.token_noise, replaced.astype(jnp.int32), clean)
        return source, draw.dictionary[parity, ordered]

    def loss(self, draw, params, batch, key):
        source, target = self._sentences(draw, batch)
        read = params["source"][source] + params["source_position"][None]
        read = layers.normalize(params["norm_memory"], attention.block(params, "encoder", read, self.num_heads))
        # Each target word is predicted from those before it. Token 0 also marks the start.
        shifted = jnp.pad(target[:, :-1], ((0, 0), (1, 0)))
        x = params["target"][shifted] + params["target_position"][None]
        queries = layers.dense(params["look"], layers.normalize(params["norm_look"], x))
        keys, values = jnp.split(layers.dense(params["memory"], read), 2, axis=-1)
        x = x + layers.dense(params["bring"], attention.attend(queries, keys, values, self.num_heads))
        x = attention.block(params, "decoder", x, self.num_heads, causal=True)
        logits = layers.dense(params["output"], layers.normalize(params["norm_output"], x))
        return layers.cross_entropy(logits, target)
