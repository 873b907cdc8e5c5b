"""What character language models share: windows of text, the draw, and the loss."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tasks.data.text import VOCABULARY_SIZE
from velo.shapes import Array, Float, Int, PRNGKeyArray

REFERENCE_LOSS = math.log(VOCABULARY_SIZE)


class LanguageDraw(NamedTuple):
    token_noise: Float[Array, ""]  # share of input characters replaced by random ones, afresh in every batch
    init_scale: Float[Array, ""]
    relabelling: Int[Array, " vocabulary"]  # a permutation of the characters


def draw_language(key: PRNGKeyArray) -> LanguageDraw:
    key_noise, key_scale, key_permutation = jax.random.split(key, 3)
    return LanguageDraw(
        token_noise=jax.random.uniform(key_noise, maxval=0.2),
        init_scale=jnp.exp(jax.random.uniform(key_scale, minval=-0.7, maxval=0.7)),
        relabelling=jax.random.permutation(key_permutation, VOCABULARY_SIZE),
    )


def windows(tokens: Int[Array, " length"], key: PRNGKeyArray, batch_size: int, size: int) -> Int[Array, "batch size"]:
    """`batch_size` windows of `size` successive characters from random places."""
    starts = jax.random.randint(key, (batch_size, 1), 0, len(tokens) - size)
    return tokens[starts + jnp.arange(size)[None]]


def corrupt(draw: LanguageDraw, tokens: Int[Array, "batch size"], key: PRNGKeyArray) -> tuple[Array, Array]:
    """(inputs with noise, clean targets), both relabelled."""
    key_flip, key_token = jax.random.split(key)
    clean = draw.relabelling[tokens]
    flipped = jax.random.uniform(key_flip, tokens.shape) < draw.token_noise
    return jnp.where(flipped, jax.random.randint(key_token, tokens.shape, 0, VOCABULARY_SIZE), clean), clean
