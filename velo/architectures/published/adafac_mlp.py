"""AdafacMLP: one per-parameter network over averages of gradients, without any per-tensor state.

Source: 2203.11860 ("small_fc_lopt"); the muLO weights (2406.00153) are of this architecture with a width of 32.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from velo.architectures import single_precision
from velo.architectures.published import accumulators, parameter_network, two_passes
from velo.architectures.published.arrangement import Arrangement, Factored
from velo.learned_optimizer import LearnedOptimizer, Theta
from velo.shapes import Float, Int, PRNGKeyArray

STEP_TIMESCALES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5)
NUM_INPUTS = 28 + len(STEP_TIMESCALES)
DECAY_FACTOR = 10.0
UNFACTORED_EPSILON = 1e-6


class State(NamedTuple):
    """In float32; tensors are arranged by shape into parts (`arrangement`), and each part is packed into pages."""

    step: Int[jax.Array, ""]
    momenta: tuple[tuple[Float[jax.Array, "pages width"], ...], ...]  # three per part
    second_moment: tuple[Float[jax.Array, "pages width"], ...]
    factored: Factored


@dataclasses.dataclass(frozen=True)
class AdafacMLP(LearnedOptimizer):
    """The architecture. The decays of the averages are learned too; the fields give their initial values."""

    mlp_width: int = 4
    mlp_depth: int = 2
    step_multiplier: float = 0.001
    magnitude_multiplier: float = 0.001
    momentum_decays: tuple[float, float, float] = (0.9, 0.99, 0.999)
    second_moment_decay: float = 0.999
    factored_decays: tuple[float, float, float] = (0.9, 0.99, 0.999)

    def __post_init__(self):
        for name in ("mlp_width", "mlp_depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"AdafacMLP: {name} must be at least 1, got {getattr(self, name)}")
        for name in ("momentum_decays", "factored_decays"):
            if len(getattr(self, name)) != 3:
                raise ValueError(f"AdafacMLP: {name} must be three decays, got {getattr(self, name)}")
        for decay in (*self.momentum_decays, self.second_moment_decay, *self.factored_decays):
            if not 0 <= decay < 1:
                raise ValueError(f"AdafacMLP: decays must be in [0, 1), got {decay}")

    @single_precision.initialization
    def init(self, key: PRNGKeyArray) -> Theta:
        sizes = (NUM_INPUTS, *[self.mlp_width] * self.mlp_depth, 2)
        return {
            "network": jax.tree.map(lambda leaf: leaf[0], parameter_network.init_bank(key, 1, sizes)),
            "momentum_decays": jnp.zeros(3),
            "second_moment_decays": jnp.zeros(1),
            "factored_decays": jnp.zeros(3),
        }

    def bind(self, theta: Theta, num_steps: int | Int[jax.Array, ""]) -> optax.GradientTransformationExtraArgs:
        """As in the interface; `num_steps` has no influence, since the network only reads the number of steps done."""
        del num_steps

        def init(params):
            return State(jnp.zeros((), jnp.int32), *two_passes_of(jax.tree.leaves(params)).init())

        def update(updates, state, params, loss):
            del loss
            return self._update(theta, updates, state, params)

        return single_precision.transformation(init, update)

    def _update(self, theta, grads, state, params):
        leaves, treedef = jax.tree.flatten(params)
        passes = two_passes_of(leaves)
        arrangement = passes.arrangement
        averages, tensors = passes.accumulate(
            two_passes.Averages(state.momenta, state.second_moment, state.factored),
            arrangement.sort(treedef.flatten_up_to(grads)),
            arrangement.pack(arrangement.sort(leaves)),
            self.decays(theta),
        )
        networks = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf[None], (len(leaves), *leaf.shape)),
            with_steps(theta["network"], state.step),
        )
        size = jnp.full(len(leaves), -self.step_multiplier)
        steps = arrangement.restore(passes.steps(averages, tensors, networks, size, self.magnitude_multiplier))
        updates = [step.astype(leaf.dtype) for step, leaf in zip(steps, leaves, strict=True)]
        return treedef.unflatten(updates), State(state.step + 1, *averages)

    def decays(self, theta: Theta) -> two_passes.Decays:
        """The learned decays."""
        return two_passes.Decays(
            learned_decays(self.momentum_decays, theta["momentum_decays"]),
            learned_decays((self.second_moment_decay,), theta["second_moment_decays"])[0],
            learned_decays(self.factored_decays, theta["factored_decays"]),
        )


def two_passes_of(leaves: list) -> two_passes.TwoPasses:
    """The two passes over these leaves."""
    return two_passes.TwoPasses(
        Arrangement(tuple(jnp.shape(leaf) for leaf in leaves)),
        with_clipped=False,
        max_gradient=accumulators.LARGE_GRADIENT,
        unfactored_epsilon=UNFACTORED_EPSILON,
    )


def with_steps(network: Theta, step: Int[jax.Array, ""]) -> Theta:
    """The same network with the inputs that depend on the step alone folded into the first layer's bias."""
    first, *rest = network
    weights, of_steps = jnp.split(first["w"], [NUM_INPUTS - len(STEP_TIMESCALES)], axis=1)
    return [{"w": weights, "b": first["b"] + of_steps @ step_features(step)}, *rest]


def learned_decays(initial: tuple[float, ...], theta: jax.typing.ArrayLike) -> Float[jax.Array, " decays"]:
    """1 - (1 - initial) exp(10 theta), computed as in the reference, clipped to [0, 1]."""
    parameter = jnp.log(1.0 - jnp.array(initial, jnp.float32)) / DECAY_FACTOR
    return jnp.clip(1.0 - jnp.exp(DECAY_FACTOR * (parameter + theta)), 0.0, 1.0)


def step_features(step: Int[jax.Array, ""]) -> Float[jax.Array, " 11"]:
    """tanh(step / timescale - 1) for each of `STEP_TIMESCALES`."""
    return jnp.tanh(step.astype(jnp.float32) / jnp.array(STEP_TIMESCALES) - 1.0)
