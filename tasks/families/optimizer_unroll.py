"""Training of a learned optimizer on a task of another family, by backpropagation through a whole run."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from tasks import prng
from tasks.family import TaskFamily
from velo.learned_optimizer import LearnedOptimizer


@dataclasses.dataclass(frozen=True)
class OptimizerUnroll(TaskFamily):
    """The parameters are `optimizer`'s theta; the loss is the mean training loss over `num_steps` inner steps.

    Inner losses are bounded at one and a half times the reference, so that the loss of an unstable run is large but
    finite.
    """

    family: TaskFamily
    optimizer: LearnedOptimizer
    num_steps: int

    def __post_init__(self):
        if self.num_steps < 1:
            raise ValueError(f"OptimizerUnroll: num_steps must be at least 1, got {self.num_steps}")

    @property
    def dataset(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner family's data set."""
        return self.family.dataset

    @property
    def reference_loss(self) -> float:
        return self.family.reference_loss

    def load(self):
        return self.family.load()

    def draw(self, key):
        return self.family.draw(key)

    def init(self, draw, key):
        return self.optimizer.init(key)

    def batch(self, data, key):
        """A batch of the inner family for every inner step: the leading axis counts steps."""
        return jax.vmap(lambda key: self.family.batch(data, key))(prng.split(key, self.num_steps))

    def loss(self, draw, params, batch, key):
        key_init, key_steps = prng.split(key)
        tx = self.optimizer.bind(params, self.num_steps)
        bound = 1.5 * self.reference_loss

        @jax.checkpoint
        def step(carry, inputs):
            weights, state = carry
            loss, grads = jax.value_and_grad(self.family.loss, argnums=1)(draw, weights, *inputs)
            updates, state = tx.update(grads, state, weights, value=loss)
            return (optax.apply_updates(weights, updates), state), jnp.where(loss < bound, loss, bound)

        weights = self.family.init(draw, key_init)
        keys = prng.split(key_steps, self.num_steps)
        return jnp.mean(jax.lax.scan(step, (weights, tx.init(weights)), (batch, keys))[1])
