"""Rescaled parameters: the optimizer trains the parameters divided by random factors."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from tasks import prng
from tasks.families.layers import check_choice
from tasks.wrappers.wrapper import Wrapper, abstract_params, num_params_abstract

GRANULARITIES = ("global", "tensor", "parameter")


@dataclasses.dataclass(frozen=True)
class Reparametrized(Wrapper):
    """Trains the parameters divided by factors that are log-uniform in [10^-decades, 10^decades]."""

    granularity: str = "global"
    """`global` has a single factor, `tensor` one for each tensor, `parameter` one for each entry."""
    decades: float = 3.0

    def __post_init__(self):
        check_choice("Reparametrized", "granularity", self.granularity, GRANULARITIES)
        if not 0 < self.decades <= 6:
            raise ValueError(f"Reparametrized: decades must be in (0, 6], got {self.decades}")

    def draw_strength(self, key):
        """The factors, in a tree of the parameters' structure: scalars, or for `parameter` arrays of their shapes."""
        leaves, treedef = jax.tree.flatten(abstract_params(self.family))
        counts = {"global": 1, "tensor": len(leaves), "parameter": num_params_abstract(self.family)}
        span = self.decades * math.log(10.0)
        factors = jnp.exp(span * (2.0 * prng.uniform(key, (counts[self.granularity],)) - 1.0))
        if self.granularity == "global":
            return treedef.unflatten([factors[0]] * len(leaves))
        if self.granularity == "tensor":
            return treedef.unflatten(list(factors))
        cut, parts = 0, []
        for leaf in leaves:
            parts.append(factors[cut : cut + leaf.size].reshape(leaf.shape))
            cut += leaf.size
        return treedef.unflatten(parts)

    def init(self, draw, key):
        return jax.tree.map(lambda weight, factor: weight / factor, self.family.init(draw.inner, key), draw.strength)

    def loss(self, draw, params, batch, key):
        weights = jax.tree.map(lambda number, factor: number * factor, params, draw.strength)
        return self.family.loss(draw.inner, weights, batch, key)
