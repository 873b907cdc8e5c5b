"""Language models with causal attention."""

import dataclasses

import numpy as np

from tasks.families import attention, language, layers
from tasks.families.sampling import choice
from tasks.family import TaskFamily


@dataclasses.dataclass(frozen=True)
class TransformerLanguageModel(TaskFamily):
    """`depth` blocks of attention and a gelu MLP, learned positions; predicts every token of a window."""

    dataset: str = "python_help"
    context: int = 16
    width: int = 32
    num_heads: int = 2
    depth: int = 1
    initializer: str = "lecun_normal"
    batch_size: int = 8

    def __post_init__(self):
        layers.check_positive(self, "context", "width", "num_heads", "depth", "batch_size")
        layers.check_choice("TransformerLanguageModel", "dataset", self.dataset, language.VOCABULARY_SIZES)
        layers.check_choice("TransformerLanguageModel", "initializer", self.initializer, layers.INITIALIZERS)
        attention.check_heads(self, self.width, self.num_heads)

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "TransformerLanguageModel":
        return cls(
            context=choice(rng, (8, 16)),
            width=choice(rng, (16, 32)),
            num_heads=choice(rng, (1, 2, 4)),
            depth=int(rng.integers(1, 3)),
            initializer=choice(rng, sorted(layers.INITIALIZERS)),
            batch_size=choice(rng, (4, 8)),
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
        names = [f"block_{index}" for index in range(self.depth)]
        shapes = {}
        norms = {"norm_output": layers.init_norm(self.width)}
        for name in names:
            shapes |= attention.block_shapes(name, self.width)
            norms |= attention.block_norms(name, self.width)
        shapes["output"] = (self.width, self.vocabulary_size)
        tables = {"token": (self.vocabulary_size, self.width), "position": (self.context, self.width)}
        return layers.init_layers(key, shapes, self.initializer, draw.init_scale, tables, table_deviation=0.3) | norms

    def batch(self, data, key):
        return language.windows(data, key, self.batch_size, self.context + 1)

    def loss(self, draw, params, batch, key):
        inputs, targets = language.corrupt(draw, batch, key)
        x = params["token"][inputs[:, :-1]] + params["position"][None]
        for index in range(self.depth):
            x = attention.block(params, f"block_{index}", x, self.num_heads, causal=True)
        logits = layers.dense(params["output"], layers.layer_norm(params["norm_output"], x))
        return layers.cross_entropy(logits, targets[:, 1:])
