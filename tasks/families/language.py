"""What language models share: windows of text, the draw, and the noise."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tasks.data import SOURCES
from tasks.families import draws
from velo.shapes import Array, Float, Int, PRNGKeyArray

VOCABULARY_SIZES = {name: source.num_classes for name, source in SOURCES.items() if source.kind == "text"}
MAX_TOKEN_NOISE = 0.2


class LanguageDraw(NamedTuple):
    token_noise: Float[Array, ""]  # share of input tokens replaced by random ones, afresh in every batch
    init_scale: Float[Array, ""]
    relabelling: Int[Array, " vocabulary"]  # a permutation of the tokens


def reference_loss(dataset: str) -> float:
    return math.log(VOCABULARY_SIZES[dataset])


def draw_language(key: PRNGKeyArray, vocabulary_size: int) -> LanguageDraw:
    uniform = jax.random.uniform(key, (vocabulary_size + 2,))
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
    """(inputs with noise, clean targets), both relabelled."""
    vocabulary_size = len(draw.relabelling)
    # One uniform number decides whether a token is replaced and by which: below the noise it is uniform again.
    uniform = jax.random.uniform(key, tokens.shape)
    random_tokens = (uniform / jnp.maximum(draw.token_noise, 1e-6) * vocabulary_size).astype(tokens.dtype)
    clean = draw.relabelling[tokens]
    return jnp.where(uniform < draw.token_noise, jnp.minimum(random_tokens, vocabulary_size - 1), clean), clean
