"""What language models share: windows of text, the draw, noise on tokens, and the loss."""

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

VOCABULARY_SIZES = {name: source.num_classes for name, source in SOURCES.items() if source.kind == "text"}
MAX_TOKEN_NOISE = 0.2
MAX_ONE_HOT = 1024
"""Largest vocabulary whose embeddings `embed` reads by a one-hot product; it gathers from larger ones."""


class LanguageDraw(NamedTuple):
    """Noise on tokens, scale of the initial parameters, and a permutation of the vocabulary."""

    token_noise: Float[Array, ""]  # share of input tokens replaced by random ones, afresh in every batch
    init_scale: Float[Array, ""]
    relabelling: Int[Array, " vocabulary"]  # a permutation of the tokens

    def undisturbed(self) -> "LanguageDraw":
        """The same draw with data as stored and initial parameters of their usual scale."""
        return self._replace(token_noise=None, relabelling=None, init_scale=jnp.ones(()))


def draw_language(key: PRNGKeyArray, vocabulary_size: int) -> LanguageDraw:
    """A random `LanguageDraw`."""
    uniform = prng.uniform(key, (vocabulary_size + 2,))
    return LanguageDraw(
        token_noise=MAX_TOKEN_NOISE * uniform[0],
        init_scale=draws.init_scale(uniform[1]),
        relabelling=draws.permutation(uniform[2:]),
    )


def windows(tokens: Int[Array, " length"], key: PRNGKeyArray, batch_size: int, size: int) -> Int[Array, "batch size"]:
    """`batch_size` windows of `size` successive tokens from random places."""
    starts = draws.integers(key, (batch_size, 1), len(tokens) - size)
    return tokens[starts + jnp.arange(size)[None]]


def corrupt(draw: LanguageDraw, tokens: Int[Array, "batch size"], key: PRNGKeyArray) -> tuple[Array, Array]:
    """(inputs with noise, clean targets), both relabelled; both unchanged if the draw is undisturbed."""
    if draw.token_noise is None:
        return tokens, tokens
    vocabulary_size = len(draw.relabelling)
    # One uniform number decides whether a token is replaced and by which: below the noise it is uniform again.
    uniform = prng.uniform(key, tokens.shape)
    random_tokens = (uniform / jnp.maximum(draw.token_noise, 1e-6) * vocabulary_size).astype(tokens.dtype)
    clean = draw.relabelling[tokens]
    return jnp.where(uniform < draw.token_noise, jnp.minimum(random_tokens, vocabulary_size - 1), clean), clean


def embed(table: Float[Array, "vocabulary width"], tokens: Int[Array, "..."]) -> Float[Array, "... width"]:
    """Rows of the table.

    Small tables are read by a one-hot product: the gradient of a gather is a scatter, which is slow on a CPU under
    `jax.vmap`.
    """
    if len(table) > MAX_ONE_HOT:
        return table[tokens]
    return jax.nn.one_hot(tokens, len(table), dtype=table.dtype) @ table


class LanguageModel(TaskFamily):
    """A network that reads a window of `context` tokens and predicts the token after the last, or after each."""

    batch_size: int
    context: int

    def check(self, *sizes: str, **choices) -> None:
        """Raises a ValueError that names the field if one is out of range; fields in `sizes` must be positive."""
        layers.check_fields(self, *sizes, "context", "batch_size", dataset=VOCABULARY_SIZES, **choices)

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens of the data set."""
        return VOCABULARY_SIZES[self.dataset]

    @property
    def reference_loss(self) -> float:
        return math.log(self.vocabulary_size)

    @property
    def loss_bound(self) -> float:
        return math.log(2 * self.vocabulary_size)

    def draw(self, key):
        return draw_language(key, self.vocabulary_size)

    def batch(self, data, key):
        return windows(data, key, self.batch_size, self.context + 1)

    @abc.abstractmethod
    def logits(
        self, params: Params, tokens: Int[Array, "batch context"], key: PRNGKeyArray
    ) -> Float[Array, "batch outputs vocabulary"]:
        """Logits of the token after each of the last `outputs` places; `key` is for dropout."""

    def loss(self, draw, params, batch, key):
        inputs, targets = corrupt(draw, batch, key)
        logits = self.logits(params, inputs[:, :-1], prng.fold_in(key, 1))
        return layers.cross_entropy(logits, targets[:, -logits.shape[1] :])
