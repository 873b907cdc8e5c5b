"""Language models with a fixed window: embed, concatenate, MLP (Bengio et al. 2003)."""

import dataclasses

import numpy as np

from tasks.families import language, layers
from tasks.families.sampling import choice, log_uniform_power


@dataclasses.dataclass(frozen=True)
class MLPLanguageModel(language.LanguageModel):
    """Predicts a token from the `context` tokens before it."""

    dataset: str = "python_help"
    context: int = 4
    embedding_size: int = 8
    width: int = 32
    activation: str = "tanh"
    initializer: str = "lecun_normal"
    batch_size: int = 64

    def __post_init__(self):
        self.check("embedding_size", "width")

    @classmethod
    def sample(cls, rng: np.random.Generator, scale: int = 1) -> "MLPLanguageModel":
        """A random architecture; `scale` as in `TaskMixture`."""
        return cls(
            context=choice(rng, (2, 4, 8)),
            embedding_size=log_uniform_power(rng, 4, 16 * scale),
            width=log_uniform_power(rng, 16, 64 * scale),
            activation=choice(rng, sorted(layers.ACTIVATIONS)),
            initializer=choice(rng, sorted(layers.INITIALIZERS)),
            batch_size=log_uniform_power(rng, 16, 64 * scale),
        )

    def init(self, draw, key):
        shapes = layers.stack("dense", [self.context * self.embedding_size, self.width, self.vocabulary_size])
        tables = {"embedding": (self.vocabulary_size, self.embedding_size)}
        return layers.init_layers(key, shapes, self.initializer, draw.init_scale, tables)

    def logits(self, params, tokens, key):
        embedded = params["embedding"][tokens].reshape(len(tokens), -1)
        return layers.mlp(params, "dense", 2, embedded, self.activation)[:, None]
