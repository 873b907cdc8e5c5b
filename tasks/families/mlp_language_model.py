"""Character language models with a fixed window: embed, concatenate, MLP (Bengio et al. 2003)."""

import dataclasses

import numpy as np

from tasks.families import language, layers
from tasks.families.sampling import choice, log_uniform_power
from tasks.family import TaskFamily


@dataclasses.dataclass(frozen=True)
class MLPLanguageModel(TaskFamily):
    """Predicts a character from the `context` before it."""

    dataset: str = "python_help"
    context: int = 4
    embedding_size: int = 8
    width: int = 32
    activation: str = "tanh"
    initializer: str = "lecun_normal"
    batch_size: int = 64

    def __post_init__(self):
        layers.check_positive(self, "context", "embedding_size", "width", "batch_size")
        layers.check_choice("MLPLanguageModel", "dataset", self.dataset, language.VOCABULARY_SIZES)
        layers.check_choice("MLPLanguageModel", "activation", self.activation, layers.ACTIVATIONS)
        layers.check_choice("MLPLanguageModel", "initializer", self.initializer, layers.INITIALIZERS)

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "MLPLanguageModel":
        return cls(
            context=choice(rng, (2, 4, 8)),
            embedding_size=choice(rng, (4, 8, 16)),
            width=log_uniform_power(rng, 16, 64),
            activation=choice(rng, sorted(layers.ACTIVATIONS)),
            initializer=choice(rng, sorted(layers.INITIALIZERS)),
            batch_size=log_uniform_power(rng, 16, 64),
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
        shapes = layers.stack("dense", [self.context * self.embedding_size, self.width, self.vocabulary_size])
        tables = {"embedding": (self.vocabulary_size, self.embedding_size)}
        return layers.init_layers(key, shapes, self.initializer, draw.init_scale, tables)

    def batch(self, data, key):
        return language.windows(data, key, self.batch_size, self.context + 1)

    def loss(self, draw, params, batch, key):
        inputs, targets = language.corrupt(draw, batch, key)
        embedded = params["embedding"][inputs[:, :-1]].reshape(len(batch), -1)
        hidden = layers.ACTIVATIONS[self.activation](layers.dense(params["dense_0"], embedded))
        return layers.cross_entropy(layers.dense(params["dense_1"], hidden), targets[:, -1])
