"""Labels for every frame of a noisy sequence, as in speech recognition; endless data from a random teacher."""

import dataclasses
import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from tasks import prng
from tasks.families import draws, layers, recurrence
from tasks.families.sampling import choice, log_uniform_power
from tasks.family import TaskFamily
from velo.shapes import Array, Float

WINDOW = 3
"""Frames that decide a label: the present one and those just before it."""


class SequenceDraw(NamedTuple):
    """The teacher, noise on frames, and the scale of the initial parameters."""

    teacher: Float[Array, "window frame classes"]
    frame_noise: Float[Array, ""]  # standard deviation of the noise that only the model sees
    init_scale: Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class SequenceLabeller(TaskFamily):
    """A recurrent cell over frames, and softmax regression of each frame's label.

    A label is the index of the largest among linear functions of the last three frames, so that the state has to
    remember.
    """

    dataset: str = "none"
    cell: str = "gru"
    num_frames: int = 16
    frame_size: int = 8
    num_classes: int = 8
    width: int = 32
    initializer: str = "lecun_normal"
    batch_size: int = 16

    def __post_init__(self):
        sizes = ("num_frames", "frame_size", "num_classes", "width", "batch_size")
        layers.check_fields(self, *sizes, cell=recurrence.CELLS)

    @classmethod
    def sample(cls, rng: np.random.Generator, scale: int = 1) -> "SequenceLabeller":
        """A random architecture; `scale` as in `TaskMixture`."""
        return cls(
            cell=choice(rng, sorted(recurrence.CELLS)),
            num_frames=log_uniform_power(rng, 8, 16 * min(scale, 4)),
            frame_size=log_uniform_power(rng, 4, 16 * scale),
            num_classes=log_uniform_power(rng, 2, 16 * scale),
            width=log_uniform_power(rng, 16, 32 * scale),
            initializer=choice(rng, sorted(layers.INITIALIZERS)),
            batch_size=log_uniform_power(rng, 8, 16 * scale),
        )

    @property
    def reference_loss(self) -> float:
        return math.log(self.num_classes)

    @property
    def loss_bound(self) -> float:
        return math.log(2 * self.num_classes)

    def draw(self, key):
        key_uniform, key_teacher = prng.split(key)
        uniform = prng.uniform(key_uniform, (2,))
        return SequenceDraw(
            teacher=prng.normal(key_teacher, (WINDOW, self.frame_size, self.num_classes)),
            frame_noise=0.5 * uniform[0],
            init_scale=draws.init_scale(uniform[1]),
        )

    def init(self, draw, key):
        shapes = recurrence.cell_shapes("cell", self.cell, self.frame_size, self.width)
        shapes["output"] = (self.width, self.num_classes)
        params = layers.init_layers(key, shapes, self.initializer, draw.init_scale)
        return recurrence.adjust_init(params, "cell", self.cell)

    def batch(self, data, key):
        frames = (self.batch_size, self.num_frames, self.frame_size)
        return draws.normals(key, {"frames": frames, "noise": frames})

    def loss(self, draw, params, batch, key):
        clean, noise = (jnp.swapaxes(batch[name], 0, 1) for name in ("frames", "noise"))
        padded = jnp.pad(clean, ((WINDOW - 1, 0), (0, 0), (0, 0)))
        scores = sum(padded[lag : lag + self.num_frames] @ draw.teacher[lag] for lag in range(WINDOW))
        hidden = recurrence.run(params, "cell", self.cell, clean + draw.frame_noise * noise)
        return layers.cross_entropy(layers.dense(params["output"], hidden), jnp.argmax(scores, axis=-1))
