"""Recurrent language models."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from tasks.families import language, layers, recurrence
from tasks.families.sampling import choice, log_uniform_power
from tasks.family import TaskFamily


@dataclasses.dataclass(frozen=True)
class RNNLanguageModel(TaskFamily):
    """Embeds tokens, runs a recurrent cell from a zero state over a window, predicts every next token."""

    dataset: str = "python_help"
    cell: str = "gru"
    context: int = 16
    embedding_size: int = 16
    width: int = 32
    initializer: str = "lecun_normal"
    batch_size: int = 16

    def __post_init__(self):
        layers.check_positive(self, "context", "embedding_size", "width", "batch_size")
        layers.check_choice("RNNLanguageModel", "dataset", self.dataset, language.VOCABULARY_SIZES)
        layers.check_choice("RNNLanguageModel", "cell", self.cell, recurrence.CELLS)
        layers.check_choice("RNNLanguageModel", "initializer", self.initializer, layers.INITIALIZERS)

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "RNNLanguageModel":
        return cls(
            cell=choice(rng, sorted(recurrence.CELLS)),
            context=choice(rng, (8, 16)),
            embedding_size=choice(rng, (4, 8, 16)),
            width=log_uniform_power(rng, 16, 32),
            initializer=choice(rng, sorted(layers.INITIALIZERS)),
            batch_size=choice(rng, (8, 16)),
        )

    @property
    def vocabulary_size(self) -> int:
        return language.VOCABULARY_SIZES[self.dataset]

    @property
    def reference_loss(self) -> float:
        return language.reference_loss(self.dataset)

    def draw(self, key):
        return language.draw_language(key, self.vocabulary_size)

    def init(self, draw, key):
        shapes = recurrence.cell_shapes("cell", self.cell, self.embedding_size, self.width)
        shapes["output"] = (self.width, self.vocabulary_size)
        tables = {"embedding": (self.vocabulary_size, self.embedding_size)}
        params = layers.init_layers(key, shapes, self.initializer, draw.init_scale, tables)
        return recurrence.adjust_init(params, "cell", self.cell)

    def batch(self, data, key):
        return language.windows(data, key, self.batch_size, self.context + 1)

    def loss(self, draw, params, batch, key):
        inputs, targets = language.corrupt(draw, batch, key)
        # One-hot products: the gradient of a gather is a scatter, which a CPU runs slowly under vmap.
        one_hot = jax.nn.one_hot(inputs[:, :-1].T, self.vocabulary_size, dtype=params["embedding"].dtype)
        hidden = recurrence.run(params, "cell", self.cell, one_hot @ params["embedding"])
        logits = layers.dense(params["output"], jnp.swapaxes(hidden, 0, 1))
        return layers.cross_entropy(logits, targets[:, 1:])
