"""Transformer blocks (Vaswani et al. 2017) with layer norm before each half."""

import jax
import jax.numpy as jnp

from tasks.families import layers
from velo.shapes import Array, Float


def block_shapes(name: str, width: int, expansion: int = 4) -> dict[str, tuple[int, ...]]:
    """Dense layers of a block, for `layers.init_layers`."""
    return {
        f"{name}_qkv": (width, 3 * width),
        f"{name}_mix": (width, width),
        f"{name}_up": (width, expansion * width),
        f"{name}_down": (expansion * width, width),
    }


def block_norms(name: str, width: int) -> dict[str, dict[str, Array]]:
    return {f"{name}_norm_attention": layers.init_norm(width), f"{name}_norm_mlp": layers.init_norm(width)}


def attend(
    queries: Float[Array, "batch outputs width"], keys: Float[Array, "batch inputs width"],
    values: Float[Array, "batch inputs width"], num_heads: int, causal: bool = False,
) -> Float[Array, "batch outputs width"]:  # fmt: skip
    """Softmax attention in `num_heads` heads; `causal` hides inputs that come after an output."""
    queries, keys, values = (x.reshape(*x.shape[:2], num_heads, -1) for x in (queries, keys, values))
    scores = jnp.einsum("bqhd,bkhd->bhqk", queries, keys) * queries.shape[-1] ** -0.5
    if causal:
        visible = jnp.tril(jnp.ones(scores.shape[-2:], bool))[None, None]
        scores = jnp.where(visible, scores, -1e9)
    mixed = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), values)
    return mixed.reshape(*mixed.shape[:2], -1)


def block(
    params: dict, name: str, x: Float[Array, "batch length width"], num_heads: int, causal: bool = False
) -> Float[Array, "batch length width"]:
    """Self-attention and a gelu MLP, each added to its input."""
    qkv = layers.dense(params[f"{name}_qkv"], layers.layer_norm(params[f"{name}_norm_attention"], x))
    mixed = attend(*jnp.split(qkv, 3, axis=-1), num_heads=num_heads, causal=causal)
    x = x + layers.dense(params[f"{name}_mix"], mixed)
    hidden = layers.dense(params[f"{name}_up"], layers.layer_norm(params[f"{name}_norm_mlp"], x))
    return x + layers.dense(params[f"{name}_down"], jax.nn.gelu(hidden))


def check_heads(family, width: int, num_heads: int) -> None:
    if width % num_heads:
        raise ValueError(f"{type(family).__name__}: width must be a multiple of num_heads, got {width} and {num_heads}")
