"""Regression of a random network's outputs: endless data, so that nothing can be memorised."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tasks import prng
from tasks.families import draws, layers
from tasks.families.sampling import SAMPLED_NORMS, choice, log_uniform_power
from tasks.family import TaskFamily
from velo.shapes import Array, Float

OBJECTIVES = ("squared_error", "huber")
"""The Huber loss is linear beyond an error of one (Huber 1964)."""
SAMPLED_OBJECTIVES = ("squared_error", "squared_error", "squared_error", "huber")
HUBER_REFERENCE = 0.425
"""Mean Huber loss of a standard normal error."""


class TeacherDraw(NamedTuple):
    """The teacher, its inputs and noise, and the scale of the initial parameters."""

    teacher: dict[str, Array]  # kernels of unit gain
    input_deviations: Float[Array, " inputs"]  # a power law, so that some directions matter much more
    target_noise: Float[Array, ""]  # standard deviation; that of the clean target is one
    init_scale: Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class TeacherRegression(TaskFamily):
    """An MLP with hidden layers of `widths` learns the outputs of a random network, the teacher, on normal inputs.

    The teacher's kernels are in the draw. With `teacher_norm` its hidden layers are normalised, so that targets vary on
    a finer scale.
    """

    dataset: str = "none"
    input_size: int = 16
    output_size: int = 4
    teacher_width: int = 32
    teacher_depth: int = 2
    teacher_activation: str = "tanh"
    teacher_norm: bool = False
    widths: tuple[int, ...] = (32,)
    activation: str = "relu"
    initializer: str = "lecun_normal"
    norm: str = "none"
    batch_size: int = 64
    objective: str = "squared_error"

    def __post_init__(self):
        sizes = ("input_size", "output_size", "teacher_width", "teacher_depth", "widths", "batch_size")
        activations = layers.ACTIVATIONS
        layers.check_fields(self, *sizes, dataset=("none",), objective=OBJECTIVES, teacher_activation=activations)

    @classmethod
    def sample(cls, rng: np.random.Generator, scale: int = 1) -> "TeacherRegression":
        """A random architecture; `scale` as in `TaskMixture`."""
        return cls(
            input_size=log_uniform_power(rng, 4, 64 * scale),
            output_size=log_uniform_power(rng, 1, 16 * scale),
            teacher_width=log_uniform_power(rng, 8, 64 * scale),
            teacher_depth=int(rng.integers(1, 4)),
            teacher_activation=choice(rng, sorted(layers.ACTIVATIONS)),
            teacher_norm=bool(rng.integers(2)),
            widths=(log_uniform_power(rng, 8, 64 * scale),) * int(rng.integers(1, 5)),
            activation=choice(rng, sorted(layers.ACTIVATIONS)),
            initializer=choice(rng, sorted(layers.INITIALIZERS)),
            norm=choice(rng, SAMPLED_NORMS),
            batch_size=log_uniform_power(rng, 16, 64 * scale),
            objective=choice(rng, SAMPLED_OBJECTIVES),
        )

    @property
    def reference_loss(self) -> float:
        return 1.0 if self.objective == "squared_error" else HUBER_REFERENCE

    def draw(self, key):
        key_uniform, key_teacher = prng.split(key)
        uniform = prng.uniform(key_uniform, (3,))
        widths = [self.teacher_width] * self.teacher_depth
        sizes = [self.input_size, *widths, self.output_size]
        shapes = layers.stack("dense", sizes)
        kernels = {name: w * shapes[name][0] ** -0.5 for name, w in draws.normals(key_teacher, shapes).items()}
        deviations = (1.0 + jnp.arange(self.input_size)) ** (-1.5 * uniform[0])
        return TeacherDraw(
            teacher=kernels,
            input_deviations=deviations * jax.lax.rsqrt(jnp.mean(jnp.square(deviations))),
            target_noise=0.5 * uniform[1],
            init_scale=draws.init_scale(uniform[2]),
        )

    def init(self, draw, key):
        shapes = layers.stack("dense", [self.input_size, *self.widths, self.output_size])
        params = layers.init_layers(key, shapes, self.initializer, draw.init_scale)
        return params | layers.init_norms(self.norm, self.widths)

    def batch(self, data, key):
        return draws.normals(
            key, {"x": (self.batch_size, self.input_size), "noise": (self.batch_size, self.output_size)}
        )

    def _teach(self, draw: TeacherDraw, x: Float[Array, "batch inputs"]) -> Float[Array, "batch outputs"]:
        for index in range(self.teacher_depth):
            x = layers.ACTIVATIONS[self.teacher_activation](1.5 * (x @ draw.teacher[f"dense_{index}"]))
            if self.teacher_norm:
                x = layers.standardize(x)
        # Over random teachers, every output then has mean zero and variance one.
        x = x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-8)
        return x @ draw.teacher[f"dense_{self.teacher_depth}"]

    def loss(self, draw, params, batch, key):
        x = draw.input_deviations[None] * batch["x"]
        target = self._teach(draw, x) + draw.target_noise * batch["noise"]
        predicted = layers.mlp(params, "dense", len(self.widths) + 1, x, self.activation, self.norm)
        if self.objective == "squared_error":
            return layers.squared_error(predicted, target)
        return jnp.mean(optax.losses.huber_loss(predicted, target))
