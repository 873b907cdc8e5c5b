"""Networks and optimizers of several widths in the standard parametrisation and in muP."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from evaluation.baselines import Baseline, LogUniform, mup
from evaluation.baselines.kfac import scale_by_kfac
from evaluation.baselines.kronecker import Damping, constant_damping, relative_damping
from evaluation.baselines.plain_shampoo import scale_by_plain_shampoo
from evaluation.baselines.soap import scale_by_soap
from tasks.families import layers
from tasks.family import TaskFamily
from tasks.wrappers.wrapper import Wrapper, abstract_params
from velo.shapes import Array, Float, PRNGKeyArray

MAX_SIDE = 8192
"""Maximum side of Shampoo's and SOAP's factors, large enough for every width of the studies."""
DIRECTIONS: dict[str, Callable[[Damping], Any]] = {
    "sgd": lambda damping: optax.identity(),
    "adam": lambda damping: optax.scale_by_adam(eps=1e-12),
    "shampoo": lambda damping: scale_by_plain_shampoo(damping, max_side=MAX_SIDE),
    "kfac": scale_by_kfac,
    "soap": lambda damping: scale_by_soap(eps=1e-12, max_side=MAX_SIDE),
}
"""Optimizer -> damping -> direction, without a step limit, as in the theory, and without momentum except in Adam and
SOAP. Their epsilon is far below the gradients at all widths."""
RATES = {"sgd": mup.SGD, "adam": mup.ADAM, "shampoo": mup.SHAMPOO, "kfac": mup.KFAC, "soap": mup.SOAP}
FIRST_STEP = {"soap": 2}
"""Optimizer -> number of gradients until it steps, 1 if absent: SOAP's first gradient only gives its bases."""
DAMPINGS = {"relative": relative_damping, "constant": constant_damping}


@dataclasses.dataclass(frozen=True)
class InMup(Wrapper):
    """A family with muP's initial parameters."""

    base: TaskFamily
    """The same family at the base width."""

    def draw_strength(self, key):
        return ()

    def init(self, draw, key):
        return mup.initialize(super().init(draw, key), abstract_params(self.base))


@dataclasses.dataclass(frozen=True)
class Direction:
    """The factory of a baseline: rate times direction, and in muP times the layer's factor."""

    optimizer: str
    """A name in `DIRECTIONS`."""
    damping: str
    """A name in `DAMPINGS`."""
    base: TaskFamily | None
    """For muP the family at the base width; None for the standard parametrisation."""

    def __call__(self, hyperparameters, num_steps):
        """The optax transformation for a run."""
        tx = self.scaled(hyperparameters["damping"])
        return optax.chain(tx, optax.scale_by_learning_rate(hyperparameters["learning_rate"]))

    def scaled(self, damping) -> optax.GradientTransformationExtraArgs:
        """The direction without the rate; in muP with the layers' factors."""
        direction = optax.with_extra_args_support(DIRECTIONS[self.optimizer](DAMPINGS[self.damping](damping)))
        if self.base is None:
            return direction
        return optax.chain(direction, mup.scale_by_layer(RATES[self.optimizer], abstract_params(self.base)))


def baseline(direction: Direction) -> Baseline:
    """The direction as a baseline for an evaluation. Its two hyperparameters are given, not searched."""
    name = f"{direction.optimizer}_{'standard' if direction.base is None else 'mup'}_{direction.damping}"
    span = LogUniform(1e-6, 1e6)
    return Baseline(name, direction, "2312.12226", (("learning_rate", span),),
                    (("learning_rate", 0.1), ("damping", 0.01)), takes_schedule=False)  # fmt: skip


def feature_changes(
    *, family: TaskFamily, direction: Direction, damping: float, activation: str, num_seeds: int
) -> dict[str, Any]:
    """Change of the features of a fully connected classifier by one step of rate 1, to first order.

    The step is the optimizer's first one (`FIRST_STEP`). Gradients before it are those of other batches at the same
    parameters.

    Returns:
        changes: [seeds, layers], the derivative of a layer's output along the step, as the root mean square over a
            batch and the layer's units. The output is taken after the activation; the last layer's is the logits.
    """
    train, _ = family.load()
    num_before = FIRST_STEP.get(direction.optimizer, 1) - 1

    @jax.jit
    def one(key: PRNGKeyArray) -> Float[Array, " layers"]:
        key_draw, key_init, key_batch, key_loss = jax.random.split(key, 4)
        draw = family.draw(key_draw)
        params = family.init(draw, key_init)
        tx = direction.scaled(damping)

        def update(state, batch):
            def objective(params):
                return family.loss(draw, params, batch, key_loss)

            return tx.update(jax.grad(objective)(params), state, params, obj_fn=objective)

        state = tx.init(params)
        for index in range(num_before):
            _, state = update(state, family.batch(train, jax.random.fold_in(key_batch, index)))
        batch = family.batch(train, key_batch)
        step, _ = update(state, batch)
        inputs = batch[0].reshape(len(batch[0]), -1)
        _, changes = jax.jvp(lambda params: hidden_layers(params, inputs, activation), (params,), (step,))
        return jnp.stack([jnp.sqrt(jnp.mean(jnp.square(change))) for change in changes])

    return {"changes": jnp.stack([one(jax.random.key(seed)) for seed in range(num_seeds)])}


def hidden_layers(params: dict, x: Float[Array, "batch inputs"], activation: str) -> list[Array]:
    """The output of every layer of an `MLPClassifier` without norms."""
    found = []
    for index in range(len(params)):
        x = layers.dense(params[f"dense_{index}"], x)
        if index < len(params) - 1:
            x = layers.ACTIVATIONS[activation](x)
        found.append(x)
    return found
