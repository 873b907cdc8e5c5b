"""Language models with causal attention (Vaswani et al. 2017)."""

import dataclasses

import numpy as np

from tasks import prng
from tasks.families import attention, language, layers
from tasks.families.sampling import choice, log_uniform_power


@dataclasses.dataclass(frozen=True)
class TransformerLanguageModel(language.LanguageModel):
    """`depth` blocks of causal attention and a gelu MLP, with learned positions; predicts every next token."""

    dataset: str = "python_help"
    context: int = 16
    width: int = 32
    num_heads: int = 2
    depth: int = 1
    initializer: str = "lecun_normal"
    batch_size: int = 8
    head_size: int | None = None
    """Entries of a head; None divides the width by the number of heads."""
    dropout: float = 0.0

    def __post_init__(self):
        self.check("width", "num_heads", "depth")
        if self.head_size is None:
            attention.check_heads(self, self.width, self.num_heads)
        else:
            layers.check_positive(self, "head_size")

    @classmethod
    def sample(cls, rng: np.random.Generator, scale: int = 1) -> "TransformerLanguageModel":
        """A random architecture; `scale` as in `TaskMixture`."""
        return cls(
            context=log_uniform_power(rng, 8, 16 * min(scale, 4)),
            width=log_uniform_power(rng, 16, 32 * scale),
            num_heads=choice(rng, (1, 2, 4)),
            depth=int(rng.integers(1, 3 + scale // 4)),
            initializer=choice(rng, sorted(layers.INITIALIZERS)),
            batch_size=log_uniform_power(rng, 4, 8 * scale),
        )

    def init(self, draw, key):
        inner_width = None if self.head_size is None else self.num_heads * self.head_size
        shapes, norms = attention.stack_layers(self.depth, self.width, inner_width)
        shapes["output"] = (self.width, self.vocabulary_size)
        norms["norm_output"] = layers.init_norm(self.width)
        tables = {"token": (self.vocabulary_size, self.width), "position": (self.context, self.width)}
        return layers.init_layers(key, shapes, self.initializer, draw.init_scale, tables, table_deviation=0.3) | norms

    def logits(self, params, tokens, key):
        x = params["token"][tokens] + params["position"][None]
        for index in range(self.depth):
            key_block = prng.fold_in(key, index)
            x = attention.block(params, f"block_{index}", x, self.num_heads, True, self.dropout, key_block)
        return layers.dense(params["output"], layers.normalize(params["norm_output"], x))
