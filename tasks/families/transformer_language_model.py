"""Character language models with causal attention (Vaswani et al. 2017, layer norm before each block)."""

import dataclasses

import jax
import jax.numpy as jnp

from tasks.data.text import VOCABULARY_SIZE
from tasks.families import language, layers
from tasks.family import TaskFamily
from velo.shapes import Array, Float


@dataclasses.dataclass(frozen=True)
class TransformerLanguageModel(TaskFamily):
    """`depth` blocks of attention and a gelu MLP of four times the width, learned positions."""

    dataset: str = "python_help"
    context: int = 16
    width: int = 32
    num_heads: int = 2
    depth: int = 1
    batch_size: int = 8

    def __post_init__(self):
        layers.check_positive(self, "context", "width", "num_heads", "depth", "batch_size")
        if self.width % self.num_heads:
            raise ValueError(
                f"TransformerLanguageModel: width must be a multiple of num_heads, got {self.width} and {self.num_heads}"
            )

    @property
    def reference_loss(self) -> float:
        return language.REFERENCE_LOSS

    def draw(self, key):
        return language.draw_language(key)

    def init(self, draw, key):
        key_embedding, key_layers = jax.random.split(key)
        width = self.width
        block_shapes = {"qkv": (width, 3 * width), "mix": (width, width), "up": (width, 4 * width), "down": (4 * width, width)}
        shapes = {f"{name}_{index}": shape for index in range(self.depth) for name, shape in block_shapes.items()}
        shapes["output"] = (width, VOCABULARY_SIZE)
        params = layers.init_layers(key_layers, shapes, "lecun_normal", draw.init_scale)
        for index in range(self.depth):
            params |= {f"norm_attention_{index}": layers.init_norm(width), f"norm_mlp_{index}": layers.init_norm(width)}
        embeddings = 0.3 * jax.random.normal(key_embedding, (VOCABULARY_SIZE + self.context, width))
        return params | {
            "norm_output": layers.init_norm(width),
            "token": embeddings[:VOCABULARY_SIZE],
            "position": embeddings[VOCABULARY_SIZE:],
        }

    def batch(self, data, key):
        return language.windows(data, key, self.batch_size, self.context + 1)

    def _attention(self, params, index: int, x: Float[Array, "batch context width"]) -> Float[Array, "batch context width"]:
        batch, context, _ = x.shape
        qkv = layers.dense(params[f"qkv_{index}"], x).reshape(batch, context, 3, self.num_heads, -1)
        queries, keys, values = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        scores = jnp.einsum("bqhd,bkhd->bhqk", queries, keys) * queries.shape[-1] ** -0.5
        causal = jnp.tril(jnp.ones((context, context), bool))[None, None]
        weights = jax.nn.softmax(jnp.where(causal, scores, -1e9))
        mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, values).reshape(batch, context, self.width)
        return layers.dense(params[f"mix_{index}"], mixed)

    def loss(self, draw, params, batch, key):
        inputs, targets = language.corrupt(draw, batch, key)
        x = params["token"][inputs[:, :-1]] + params["position"][None]
        for index in range(self.depth):
            x = x + self._attention(params, index, layers.layer_norm(params[f"norm_attention_{index}"], x))
            hidden = layers.layer_norm(params[f"norm_mlp_{index}"], x)
            hidden = jax.nn.gelu(layers.dense(params[f"up_{index}"], hidden))
            x = x + layers.dense(params[f"down_{index}"], hidden)
        logits = layers.dense(params["output"], layers.layer_norm(params["norm_output"], x))
        return layers.cross_entropy(logits, targets[:, 1:])
