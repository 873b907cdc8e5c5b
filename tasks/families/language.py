"""What character language models share: windows of text, the draw, and the loss."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tasks.data.text import VOCABULARY_SIZE
from tasks.families.classification import init_scale
from velo.shapes import Array, Float, Int, PRNGKeyArray

REFERENCE_LOSS = math.log(VOCABULARY_SIZE)


class LanguageDraw(NamedTuple):
    token_noise: Float[Array, ""]  # share of input characters replaced by random ones, afresh in every batch
    init_scale: Float[Array, ""]
    relabelling: Int[Array, " vocabulary"]  # a permutation of the characters


def draw_language(key: PRNGKeyArray) -> LanguageDraw:
    key_uniform, key_permutation = jax.random.split(key)
    uniform = jax.random.uniform(key_uniform, (2,))
    return LanguageDraw(
        token_noise=0.2 * uniform[0],
        init_scale=init_scale(uniform[1]),
        relabelling=jax.random.permutation(key_permutation, VOCABULARY_SIZE),
    )


def windows(tokens: Int[Array, " length"], key: PRNGKeyArray, batch_size: int, size: int) -> Int[Array, "batch size"]:
    """`batch_size` windows of `size` successive characters from random places."""
    starts = jax.random.randint(key, (batch_size, 1), 0, len(tokens) - size)
    return tokens[starts + jnp.arange(size)[None]]


def corrupt(draw: LanguageDraw, tokens: Int[Array, "batch size"], key: PRNGKeyArray) -> tuple[Array, Array]:
    """(inputs with noise, clean targets), both relabelled."""
    uniform = jax.random.uniform(key, tokens.shape)
    random_tokens = (uniform / jnp.maximum(draw.token_noise, 1e-6) * VOCABULARY_SIZE).astype(tokens.dtype)
    clean = draw.relabelling[tokens]
    return jnp.where(uniform < draw.token_noise, jnp.minimum(random_tokens, VOCABULARY_SIZE - 1), clean), clean
