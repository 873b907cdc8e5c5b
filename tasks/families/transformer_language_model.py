"""Character language models with causal attention (Vaswani et al. 2017, layer norm before each block)."""

import dataclasses

import jax
import jax.numpy as jnp

from tasks.data.text import VOCABULARY_SIZE
from tasks.families import classification, language, layers
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
        key_token, key_position, key_output, *keys = jax.random.split(key, 3 + self.depth)
        params = {
            "token": 0.3 * jax.random.normal(key_token, (VOCABULARY_SIZE, self.width)),
            "position": 0.3 * jax.random.normal(key_position, (self.context, self.width)),
            "norm": layers.init_norm(self.width),
            "output": layers.init_dense(key_output, self.width, VOCABULARY_SIZE, "lecun_normal"),
        }
        for index, key_block in enumerate(keys):
            key_qkv, key_mix, key_up, key_down = jax.random.split(key_block, 4)
            params[f"block_{index}"] = {
                "norm_attention": layers.init_norm(self.width),
                "qkv": layers.init_dense(key_qkv, self.width, 3 * self.width, "lecun_normal"),
                "mix": layers.init_dense(key_mix, self.width, self.width, "lecun_normal"),
                "norm_mlp": layers.init_norm(self.width),
                "up": layers.init_dense(key_up, self.width, 4 * self.width, "lecun_normal"),
                "down": layers.init_dense(key_down, 4 * self.width, self.width, "lecun_normal"),
            }
        return classification.scale_weights(params, draw.init_scale)

    def batch(self, data, key):
        return language.windows(data, key, self.batch_size, self.context + 1)

    def _attention(self, block, x: Float[Array, "batch context width"]) -> Float[Array, "batch context width"]:
        batch, context, _ = x.shape
        qkv = layers.dense(block["qkv"], x).reshape(batch, context, 3, self.num_heads, -1)
        queries, keys, values = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        scores = jnp.einsum("bqhd,bkhd->bhqk", queries, keys) * queries.shape[-1] ** -0.5
        causal = jnp.tril(jnp.ones((context, context), bool))[None, None]
        weights = jax.nn.softmax(jnp.where(causal, scores, -1e9))
        mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, values).reshape(batch, context, self.width)
        return layers.dense(block["mix"], mixed)

    def loss(self, draw, params, batch, key):
        inputs, targets = language.corrupt(draw, batch, key)
        x = params["token"][inputs[:, :-1]] + params["position"][None]
        for index in range(self.depth):
            block = params[f"block_{index}"]
            x = x + self._attention(block, layers.layer_norm(block["norm_attention"], x))
            hidden = jax.nn.gelu(layers.dense(block["up"], layers.layer_norm(block["norm_mlp"], x)))
            x = x + layers.dense(block["down"], hidden)
        logits = layers.dense(params["output"], layers.layer_norm(params["norm"], x))
        return layers.cross_entropy(logits, targets[:, 1:])
