"""The base class of wrappers: passes every call to the family inside and adds a strength to its draw."""

import abc
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tasks import prng
from tasks.family import TaskFamily
from velo.shapes import Array, Float, PRNGKeyArray


class WrapperDraw(NamedTuple):
    """The draw of the family inside, and the wrapper's strength."""

    inner: Any
    strength: Any


@dataclasses.dataclass(frozen=True)
class Wrapper(TaskFamily):
    """A family around `family`; a subclass overrides the methods that it changes."""

    family: TaskFamily

    @property
    def dataset(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The data set of the family inside."""
        return self.family.dataset

    @property
    def reference_loss(self) -> float:
        return self.family.reference_loss

    @property
    def loss_bound(self) -> float:
        return self.family.loss_bound

    @abc.abstractmethod
    def draw_strength(self, key: PRNGKeyArray) -> Any:
        """The wrapper's own part of the draw, such as the size of a disturbance."""

    def load(self):
        return self.family.load()

    def draw(self, key):
        key_inner, key_strength = prng.split(key)
        return WrapperDraw(self.family.draw(key_inner), self.draw_strength(key_strength))

    def draw_at(self, draw, step):
        return draw._replace(inner=self.family.draw_at(draw.inner, step))

    def init(self, draw, key):
        return self.family.init(draw.inner, key)

    def batch(self, data, key):
        return self.family.batch(data, key)

    def loss(self, draw, params, batch, key):
        return self.family.loss(draw.inner, params, batch, key)

    def normalize(self, loss):
        return self.family.normalize(loss)

    def wrap_optimizer(self, draw, tx):
        return self.family.wrap_optimizer(draw.inner, tx)


def with_gradient(loss: Float[Array, ""], params: Any, grads: Any) -> Float[Array, ""]:
    """The value of `loss` with `grads` as its gradient with respect to `params`.

    Adds the inner product of `grads` and (params - params), which is zero and has this gradient. No custom derivative
    rule is needed, and it works under `vmap`.
    """
    grads = jax.lax.stop_gradient(grads)
    products = jax.tree.map(lambda grad, leaf: jnp.sum(grad * (leaf - jax.lax.stop_gradient(leaf))), grads, params)
    return jax.lax.stop_gradient(loss) + sum(jax.tree.leaves(products))


def num_params_abstract(family: TaskFamily) -> int:
    """Number of parameters, from their shapes alone; also works under a trace."""
    return sum(leaf.size for leaf in jax.tree.leaves(abstract_params(family)))


def abstract_params(family: TaskFamily) -> Any:
    """The parameters as a tree of `jax.ShapeDtypeStruct`."""
    return jax.eval_shape(lambda key: family.init(family.draw(key), key), jax.random.key(0))


def innermost(family: TaskFamily) -> TaskFamily:
    """The family inside all wrappers."""
    return innermost(family.family) if isinstance(family, Wrapper) else family
