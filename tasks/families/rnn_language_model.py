"""Recurrent language models."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from tasks.families import language, layers, recurrence
from tasks.families.sampling import choice, log_uniform_power


@dataclasses.dataclass(frozen=True)
class RNNLanguageModel(language.LanguageModel):
    """Embeds tokens, runs a recurrent cell over the window, and predicts every next token."""

    dataset: str = "python_help"
    cell: str = "gru"
    context: int = 16
    embedding_size: int = 16
    width: int = 32
    initializer: str = "lecun_normal"
    batch_size: int = 16
    learned_start: bool = False
    """Whether the state before the first token is trained; it starts at zero."""

    def __post_init__(self):
        self.check("embedding_size", "width", cell=recurrence.CELLS)

    @classmethod
    def sample(cls, rng: np.random.Generator, scale: int = 1) -> "RNNLanguageModel":
        """A random architecture; `scale` as in `TaskMixture`."""
        return cls(
            cell=choice(rng, sorted(recurrence.CELLS)),
            context=log_uniform_power(rng, 8, 16 * min(scale, 4)),
            embedding_size=log_uniform_power(rng, 4, 16 * scale),
            width=log_uniform_power(rng, 16, 32 * scale),
            initializer=choice(rng, sorted(layers.INITIALIZERS)),
            batch_size=log_uniform_power(rng, 8, 16 * scale),
        )

    def init(self, draw, key):
        shapes = recurrence.cell_shapes("cell", self.cell, self.embedding_size, self.width)
        shapes["output"] = (self.width, self.vocabulary_size)
        tables = {"embedding": (self.vocabulary_size, self.embedding_size)}
        params = layers.init_layers(key, shapes, self.initializer, draw.init_scale, tables)
        if self.learned_start:
            params["start"] = {"hidden": jnp.zeros(self.width), "memory": jnp.zeros(self.width)}
        return recurrence.adjust_init(params, "cell", self.cell)

    def logits(self, params, tokens, key):
        embedded = language.embed(params["embedding"], tokens.T)
        hidden = recurrence.run(params, "cell", self.cell, embedded, params.get("start"))
        return layers.dense(params["output"], jnp.swapaxes(hidden, 0, 1))
