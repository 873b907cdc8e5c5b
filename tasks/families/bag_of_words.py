"""Continuous bags of words: the token in the middle of a window from the mean of its neighbours (1301.3781)."""

import dataclasses

import jax
import jax.numpy as jnp

from tasks.families import language, layers


@dataclasses.dataclass(frozen=True)
class BagOfWords(language.LanguageModel):
    """Predicts a token from the mean embedding of the `context` tokens around it, half of them on each side.

    The embedding is a `layers.dense` of the mean of one-hot vectors, so that optimizers that only know layers can train
    it.
    """

    dataset: str = "python_source"
    context: int = 8
    width: int = 32
    batch_size: int = 64

    def __post_init__(self):
        self.check("width")
        if self.context % 2:
            raise ValueError(f"BagOfWords: context must be even, got {self.context}")

    def init(self, draw, key):
        tables = {"embedding": (self.vocabulary_size, self.width)}
        shapes = {"output": (self.width, self.vocabulary_size)}
        params = layers.init_layers(key, shapes, "lecun_normal", draw.init_scale, tables)
        return params | {"embedding": {"w": params["embedding"]}}

    def logits(self, params, tokens, key):
        bag = jnp.mean(jax.nn.one_hot(tokens, self.vocabulary_size), axis=1)
        return layers.dense(params["output"], layers.dense(params["embedding"], bag))[:, None]

    def loss(self, draw, params, batch, key):
        inputs, targets = language.corrupt(draw, batch, key)
        middle = self.context // 2
        around = jnp.concatenate([inputs[:, :middle], inputs[:, middle + 1 :]], axis=1)
        return layers.cross_entropy(self.logits(params, around, key), targets[:, middle : middle + 1])
