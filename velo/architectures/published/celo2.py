"""Celo2: a per-parameter network whose output is orthogonalised for matrices, and AdamW for everything else.

Source: 2602.19142. It keeps no per-tensor state and reads no loss; learning rate and schedule are given by hand.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from velo.architectures import single_precision
from velo.architectures.published import accumulators, parameter_network
from velo.learned_optimizer import LearnedOptimizer, Theta
from velo.shapes import Int, PRNGKeyArray

MOMENTUM_DECAYS = (0.9, 0.99, 0.999)
SECOND_MOMENT_DECAY = 0.95
FACTORED_DECAYS = (0.9, 0.99, 0.999)
NUM_INPUTS = 30
NUM_UNFACTORED_INPUTS = 15  # the inputs before the factored ones
NUM_OUTPUTS = 3  # only the first one, the direction, is read
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
ADAM_DECAYS = (0.9, 0.95)
EMBEDDING = "embed"


class State(NamedTuple):
    """In float32. All but the factored moments have the tree of the parameters."""

    momenta: tuple[optax.Params, ...]  # one per decay
    second_moment: optax.Params
    factored: accumulators.Factored


@dataclasses.dataclass(frozen=True)
class Celo2(LearnedOptimizer):
    """The architecture, and the schedule that it needs: a linear warm-up, then a cosine to zero at `num_steps`."""

    mlp_width: int = 8
    mlp_depth: int = 2
    orthogonalize: bool = True
    """False is the paper's Celo2-base: no orthogonalisation, and the network for every parameter."""
    learning_rate: float = 1e-3
    """Root mean square of a step of the learned part at the peak of the schedule."""
    warmup_fraction: float = 0.05
    adam_scale: float = 1.0
    """Learning rate of the AdamW part, as a multiple of `learning_rate`."""
    weight_decay: float = 0.0
    """Decoupled weight decay of all parameters, as AdamW's: the learning rate of a parameter's part multiplies it."""

    def __post_init__(self):
        for name in ("mlp_width", "mlp_depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"Celo2: {name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "adam_scale", "weight_decay"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"Celo2: {name} must be finite and at least 0, got {getattr(self, name)}")
        if not 0 <= self.warmup_fraction < 1:
            raise ValueError(f"Celo2: warmup_fraction must be in [0, 1), got {self.warmup_fraction}")

    @single_precision.initialization
    def init(self, key: PRNGKeyArray) -> Theta:
        sizes = (NUM_INPUTS, *[self.mlp_width] * self.mlp_depth, NUM_OUTPUTS)
        return {"network": jax.tree.map(lambda leaf: leaf[0], parameter_network.init_bank(key, 1, sizes))}

    def bind(self, theta: Theta, num_steps: int | Int[jax.Array, ""]) -> optax.GradientTransformationExtraArgs:
        decay = optax.add_decayed_weights(self.weight_decay)
        learned = optax.chain(self._learned(theta), decay)
        adam = optax.chain(optax.scale_by_adam(*ADAM_DECAYS, mu_dtype=jnp.float32), decay, optax.scale(self.adam_scale))
        labels = _labels if self.orthogonalize else _all_learned
        tx = optax.chain(
            optax.partition({"learned": learned, "adam": adam}, labels),
            optax.scale_by_schedule(lambda count: -self._rate(count, num_steps)),
        )

        def init(params):
            return tx.init(_float32(params))

        def update(updates, state, params, loss):
            del loss
            updates, state = tx.update(_float32(updates), state, _float32(params))
            return jax.tree.map(lambda step, leaf: step.astype(leaf.dtype), updates, params), state

        return single_precision.transformation(init, update)

    def _rate(self, count, num_steps):
        """Learning rate of step `count`, counted from 0. Deviation: the warm-up starts above zero, so that the first
        step moves the parameters.
        """
        num_steps = jnp.asarray(num_steps, jnp.float32)
        warmup = jnp.maximum(self.warmup_fraction * num_steps, 1.0)
        progress = jnp.clip((count + 1.0 - warmup) / jnp.maximum(num_steps - warmup, 1.0), 0.0, 1.0)
        cosine = 0.5 * (1.0 + jnp.cos(jnp.pi * progress))
        return self.learning_rate * jnp.minimum((count + 1.0) / warmup, 1.0) * cosine

    def _learned(self, theta) -> optax.GradientTransformation:
        """The network's step, of root mean square 1 over the last two dimensions."""
        zeros = optax.tree.zeros_like

        def init(params):
            shapes = tuple(leaf.shape for leaf in jax.tree.leaves(params))
            factored = accumulators.Factoring(shapes).init(len(FACTORED_DECAYS))
            return State(tuple(zeros(params) for _ in MOMENTUM_DECAYS), zeros(params), factored)

        def update(updates, state, params=None):
            leaves, treedef = jax.tree.flatten(params)
            grads = accumulators.clean(treedef.flatten_up_to(updates), accumulators.MAX_GRADIENT)
            factored, features = accumulators.Factoring(tuple(leaf.shape for leaf in leaves)).update(
                state.factored, grads, jnp.array(FACTORED_DECAYS), unfactored_epsilon=0.0
            )
            momenta = [
                _average(treedef.flatten_up_to(old), grads, decay)
                for old, decay in zip(state.momenta, MOMENTUM_DECAYS, strict=True)
            ]
            squares = [jnp.square(grad) for grad in grads]
            second_moment = _average(treedef.flatten_up_to(state.second_moment), squares, SECOND_MOMENT_DECAY)
            directions = [
                self._direction(theta["network"], grad, leaf, jnp.stack(m), v, feature)
                for grad, leaf, *m, v, feature in zip(grads, leaves, *momenta, second_moment, features, strict=True)
            ]
            unflatten = treedef.unflatten
            return unflatten(directions), State(tuple(map(unflatten, momenta)), unflatten(second_moment), factored)

        return optax.GradientTransformation(init, update)

    def _direction(self, network, grad, leaf, momenta, second_moment, feature) -> jax.Array:
        x = parameter_network.parameter_features(
            grad, leaf, momenta, second_moment, feature, with_clipped=True, epsilon=1e-8
        )
        if leaf.ndim < 2:
            x = x[:NUM_UNFACTORED_INPUTS]
        x = _normalize(x, leaf.ndim)
        for index, layer in enumerate(network):
            weights = layer["w"][:, : x.shape[0]]
            x = jnp.tensordot(weights, x, axes=1) + layer["b"].reshape(-1, *[1] * leaf.ndim)
            if index < len(network) - 1:
                x = jax.nn.relu(x)
        direction = x[0]
        if self.orthogonalize and leaf.ndim >= 2:
            direction = orthogonalize(direction)
        return _normalize(direction, leaf.ndim)


def orthogonalize(x: jax.Array) -> jax.Array:
    """Nearly the orthogonal polar factor of every matrix in the last two dimensions, by five Newton-Schulz steps.

    The quintic and its coefficients are Muon's (Jordan et al. 2024): singular values end up between about .7 and 1.2.
    """
    tall = x.shape[-2] > x.shape[-1]
    x = jnp.swapaxes(x, -2, -1) if tall else x
    x = x / (jnp.sqrt(jnp.sum(jnp.square(x), axis=(-2, -1), keepdims=True)) + 1e-8)
    linear, cubic, quintic = NEWTON_SCHULZ
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ jnp.swapaxes(x, -2, -1)
        x = linear * x + (cubic * gram + quintic * gram @ gram) @ x
    return jnp.swapaxes(x, -2, -1) if tall else x


def _normalize(x: jax.Array, ndim: int) -> jax.Array:
    """Root mean square 1 over the last two of the tensor's dimensions."""
    axes = tuple(range(-min(ndim, 2), 0))
    if x.size == 0:
        return x
    return x * jax.lax.rsqrt(1e-9 + jnp.mean(jnp.square(x), axis=axes, keepdims=True))


def _average(old: list[jax.Array], new: list[jax.Array], decay: float) -> list[jax.Array]:
    return [accumulators.average_once(a, b, decay) for a, b in zip(old, new, strict=True)]


def _float32(tree):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tree)


def _labels(params):
    """The network updates matrices; AdamW updates biases, gains and embedding tables."""
    return jax.tree.map_with_path(
        lambda path, leaf: "adam" if leaf.ndim < 2 or EMBEDDING in jax.tree_util.keystr(path).lower() else "learned",
        params,
    )


def _all_learned(params):
    return jax.tree.map(lambda _: "learned", params)
