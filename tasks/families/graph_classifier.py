"""Message-passing networks that classify graphs (Gilmer et al. 2017)."""

import dataclasses
import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from tasks import prng
from tasks.data import SOURCES
from tasks.families import classification, draws, layers
from tasks.families.sampling import choice, log_uniform_power
from tasks.family import TaskFamily
from velo.shapes import Array, Float

GRAPHS = tuple(name for name, source in SOURCES.items() if source.kind == "graph")
FEATURE_SIZE = 4
"""A node's degree and three random features, fresh in every batch."""


class GraphDraw(NamedTuple):
    """Noise on edges, and the scale of the initial parameters."""

    edge_noise: Float[Array, ""]  # share of node pairs whose edge flips, afresh in every batch
    init_scale: Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class GraphClassifier(TaskFamily):
    """`num_rounds` rounds of messages, a mean and a maximum over nodes, then an MLP.

    A message is a dense layer, with an activation, of the node and of the mean over its neighbours. It is added to the
    node.
    """

    dataset: str = "random_graphs"
    width: int = 16
    num_rounds: int = 2
    activation: str = "relu"
    initializer: str = "lecun_normal"
    batch_size: int = 16

    def __post_init__(self):
        layers.check_fields(self, "width", "num_rounds", "batch_size", dataset=GRAPHS)

    @classmethod
    def sample(cls, rng: np.random.Generator, scale: int = 1) -> "GraphClassifier":
        """A random architecture; `scale` as in `TaskMixture`."""
        return cls(
            width=log_uniform_power(rng, 8, 32 * scale),
            num_rounds=int(rng.integers(1, 4)),
            activation=choice(rng, sorted(layers.ACTIVATIONS)),
            initializer=choice(rng, sorted(layers.INITIALIZERS)),
            batch_size=log_uniform_power(rng, 8, 32 * scale),
        )

    @property
    def reference_loss(self) -> float:
        return math.log(SOURCES[self.dataset].num_classes)

    @property
    def loss_bound(self) -> float:
        return math.log(2 * SOURCES[self.dataset].num_classes)

    def draw(self, key):
        uniform = prng.uniform(key, (2,))
        return GraphDraw(edge_noise=0.05 * uniform[0], init_scale=draws.init_scale(uniform[1]))

    def init(self, draw, key):
        shapes = {"enter": (FEATURE_SIZE, self.width)}
        shapes |= {f"round_{index}": (2 * self.width, self.width) for index in range(self.num_rounds)}
        shapes |= layers.stack("read", [2 * self.width, self.width, SOURCES[self.dataset].num_classes])
        norms = {f"norm_{index}": layers.init_norm(self.width) for index in range(self.num_rounds)}
        return layers.init_layers(key, shapes, self.initializer, draw.init_scale) | norms

    def batch(self, data, key):
        return classification.gather(data, key, self.batch_size)

    def loss(self, draw, params, batch, key):
        edges, labels = batch
        num_nodes = edges.shape[-1]
        uniform = prng.uniform(key, (len(edges), num_nodes, num_nodes + FEATURE_SIZE - 1))
        flips = jnp.triu(uniform[..., :num_nodes] < draw.edge_noise, 1)
        edges = jnp.where(flips | jnp.swapaxes(flips, 1, 2), 1 - edges, edges).astype(uniform.dtype)
        degrees = jnp.sum(edges, axis=-1, keepdims=True)
        means = edges / jnp.maximum(degrees, 1.0)
        features = jnp.concatenate([degrees / num_nodes, uniform[..., num_nodes:] - 0.5], axis=-1)
        activation = layers.ACTIVATIONS[self.activation]
        x = activation(layers.dense(params["enter"], 3.0 * features))
        for index in range(self.num_rounds):
            normed = layers.normalize(params[f"norm_{index}"], x)
            messages = layers.dense(params[f"round_{index}"], jnp.concatenate([normed, means @ normed], axis=-1))
            x = x + activation(messages)
        pooled = jnp.concatenate([jnp.mean(x, axis=1), jnp.max(x, axis=1)], axis=-1)
        return layers.cross_entropy(layers.mlp(params, "read", 2, pooled, self.activation), labels)
