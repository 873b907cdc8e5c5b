"""One's own task family: trains a network on it, then meta-trains an optimizer on it on Ray. Usage: python own_task.py

In a shell, in the folder of this file:

    python -m velo train own_task:Sines --num-steps 500
    velo-meta-train demo --mixture own_task:mixture --validation.suite own_task:SUITE --validation.every 10
    velo-evaluate --suite own_task:SUITE --optimizers velo,adam
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import velo
from configs import meta_train_command
from tasks.family import TaskFamily
from tasks.fixed import FixedTask
from tasks.mixture import TaskMixture


class SinesDraw(NamedTuple):
    """What differs between tasks that share one compiled program."""

    frequency: jax.Array
    phase: jax.Array


@dataclasses.dataclass(frozen=True)
class Sines(TaskFamily):
    """A small network regresses a sine wave; its frequency and phase are drawn anew for every task."""

    dataset: str = "none"  # the data are generated
    width: int = 32
    batch_size: int = 64

    def __post_init__(self):
        if self.width < 1 or self.batch_size < 1:
            raise ValueError(f"Sines: width and batch_size must be at least 1, got {self.width}, {self.batch_size}")

    @classmethod
    def sample(cls, rng: np.random.Generator, scale: int = 1) -> "Sines":
        return cls(width=scale * int(rng.choice([16, 32, 64])))

    @property
    def reference_loss(self) -> float:
        return 0.5  # the loss of predicting zero

    def draw(self, key):
        frequency, phase = jax.random.uniform(key, (2,))
        return SinesDraw(1.0 + 4.0 * frequency, 2.0 * jnp.pi * phase)

    def init(self, draw, key):
        key_hidden, key_output = jax.random.split(key)
        return {
            "hidden": jax.random.normal(key_hidden, (2, self.width)),
            "output": jax.random.normal(key_output, (self.width,)) * self.width**-0.5,
        }

    def batch(self, data, key):
        return jax.random.uniform(key, (self.batch_size,), minval=-1.0)

    def loss(self, draw, params, batch, key):
        inputs = jnp.stack([batch, jnp.ones_like(batch)], axis=1)
        predicted = jnp.tanh(inputs @ params["hidden"]) @ params["output"]
        return jnp.mean(jnp.square(predicted - jnp.sin(draw.frequency * batch + draw.phase)))


mixture = TaskMixture(((Sines, 1.0),))  # with other families and their weights, if you like
SUITE = (FixedTask("sines", Sines(), 500),)


def main(num_steps=500, weights="default", folder="runs/own_task", words=()):
    family = mixture.sample(np.random.default_rng(0))
    draw = family.draw(jax.random.key(0))
    keys = (jax.random.fold_in(jax.random.key(2), step) for step in range(num_steps))
    fitted = velo.fit(
        lambda params, key: family.loss(draw, params, family.batch((), key), key),
        family.init(draw, jax.random.key(1)),
        keys,
        num_steps,
        weights=weights,
    )
    print(family, fitted.history)

    command = "demo --mixture own_task:mixture --validation.suite own_task:SUITE --validation.every 10"
    if meta_train_command.main([*command.split(), "--out", str(folder), *words]):
        raise SystemExit(2)
    return fitted


if __name__ == "__main__":
    main()
