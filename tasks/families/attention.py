"""Transformer blocks (Vaswani et al. 2017) with layer norm before each half."""

import jax
import jax.numpy as jnp

from tasks.families import layers
from velo.shapes import Array, Float, PRNGKeyArray


def block_layers(
    name: str, width: int, expansion: int = 4, inner_width: int | None = None
) -> tuple[dict[str, tuple[int, ...]], dict[str, dict[str, Array]]]:
    """(shapes of the dense layers, norms) of a block; its heads together have `inner_width` entries, or `width`."""
    inner_width = inner_width or width
    shapes = {
        f"{name}_qkv": (width, 3 * inner_width),
        f"{name}_mix": (inner_width, width),
        f"{name}_up": (width, expansion * width),
        f"{name}_down": (expansion * width, width),
    }
    return shapes, {f"{name}_norm_{half}": layers.init_norm(width) for half in ("attention", "mlp")}


def stack_layers(
    depth: int, width: int, inner_width: int | None = None
) -> tuple[dict[str, tuple[int, ...]], dict[str, dict[str, Array]]]:
    """(shapes of the dense layers, norms) of `depth` blocks: block_0, block_1, ..."""
    shapes, norms = {}, {}
    for index in range(depth):
        more_shapes, more_norms = block_layers(f"block_{index}", width, inner_width=inner_width)
        shapes, norms = shapes | more_shapes, norms | more_norms
    return shapes, norms


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
    params: dict, name: str, x: Float[Array, "batch length width"], num_heads: int, causal: bool = False,
    dropout: float = 0.0, key: PRNGKeyArray | None = None,
) -> Float[Array, "batch length width"]:  # fmt: skip
    """Self-attention, then a gelu MLP; the output of each goes through dropout and is added to its input."""
    qkv = layers.dense(params[f"{name}_qkv"], layers.normalize(params[f"{name}_norm_attention"], x))
    mixed = attend(*jnp.split(qkv, 3, axis=-1), num_heads=num_heads, causal=causal)
    x = x + layers.drop_out(layers.dense(params[f"{name}_mix"], mixed), dropout, key, 0)
    hidden = layers.dense(params[f"{name}_up"], layers.normalize(params[f"{name}_norm_mlp"], x))
    return x + layers.drop_out(layers.dense(params[f"{name}_down"], jax.nn.gelu(hidden)), dropout, key, 1)


def check_heads(family, width: int, num_heads: int) -> None:
    """Raises a ValueError unless the width is a multiple of `num_heads`."""
    if width % num_heads:
        raise ValueError(f"{type(family).__name__}: width must be a multiple of num_heads, got {width} and {num_heads}")
