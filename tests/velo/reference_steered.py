"""The updates of HyperV2, Celo and AdafacMLP tensor by tensor, all inputs stacked: what the fast ones are held to.

As the published implementations compute theirs: plain, and in time and memory many times the fast ones'.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from velo.architectures.lstm import init_lstm
from velo.architectures.published import accumulators, adafac_mlp, loss_buffer, parameter_network, steered
from velo.architectures.published.adafac_mlp import AdafacMLP
from velo.learned_optimizer import Theta
from velo.shapes import Float, Int


class Averages(NamedTuple):
    """Tensor by tensor, but for the factored ones."""

    momenta: list[Float[jax.Array, "decays *shape"]]
    second_moment: list[Float[jax.Array, "*shape"]]
    factored: accumulators.Factored


class State(NamedTuple):
    step: Int[jax.Array, ""]
    averages: Averages
    loss_buffer: Any  # AdafacMLP has neither a loss buffer nor an LSTM
    lstm: Any


def bind(architecture, theta: Theta, num_steps: int) -> optax.GradientTransformationExtraArgs:
    """The same transformation as `architecture.bind`, but for its state and its speed; for non-empty tensors."""
    steered_one = isinstance(architecture, steered.SteeredOptimizer)

    def init(params):
        leaves = jax.tree.leaves(params)
        averages = Averages(
            [jnp.zeros((3, *leaf.shape)) for leaf in leaves],
            [jnp.zeros(leaf.shape) for leaf in leaves],
            accumulators.Factoring(tuple(leaf.shape for leaf in leaves)).init(3),
        )
        if not steered_one:
            return State(jnp.zeros((), jnp.int32), averages, None, None)
        buffer = loss_buffer.init_loss_buffer(architecture.loss_timescale(num_steps))
        return State(jnp.zeros((), jnp.int32), averages, buffer, init_lstm(theta["hypernetwork"], len(leaves)))

    def update(updates, state, params=None, *, value=None, **extra_args):
        del extra_args
        leaves, treedef = jax.tree.flatten(params)
        grads = treedef.flatten_up_to(updates)
        with jax.default_matmul_precision("highest"):
            if steered_one:
                steps, state = _steered(architecture, theta, num_steps, grads, state, leaves, jnp.asarray(value))
            else:
                steps, state = _adafac_mlp(architecture, theta, grads, state, leaves)
        return treedef.unflatten([-step.astype(leaf.dtype) for step, leaf in zip(steps, leaves, strict=True)]), state

    return optax.GradientTransformationExtraArgs(init, update)


def _steered(architecture: steered.SteeredOptimizer, theta, num_steps, grads, state: State, leaves, loss):
    state = state._replace(loss_buffer=loss_buffer.update_loss_buffer(state.loss_buffer, loss))
    shapes = tuple(leaf.shape for leaf in leaves)
    params_square = jnp.stack([jnp.mean(jnp.square(leaf)) for leaf in leaves])
    statistics = _statistics(state.averages) if architecture.num_statistics else jnp.zeros((len(leaves), 0))
    inputs = architecture.tensor_inputs(shapes, statistics, params_square)
    outputs, lstm = architecture.control(theta, num_steps, state, inputs)
    networks = parameter_network.mix_bank(theta["bank"], architecture.bank_coefficients(outputs.controls))
    size = jnp.sqrt(params_square + 1e-9) * architecture.step_scale(outputs.step_size) * steered.STEP_MULTIPLIER

    grads = accumulators.clean(grads, accumulators.MAX_GRADIENT)
    decays = steered.MOMENTUM_DECAYS, steered.SECOND_MOMENT_DECAY, steered.FACTORED_DECAYS
    averages, features = _accumulate(state.averages, grads, *map(jnp.array, decays), unfactored_epsilon=0.0)
    steps = []
    for index, (leaf, grad) in enumerate(zip(leaves, grads, strict=True)):
        x = parameter_network.parameter_features(
            grad, leaf, averages.momenta[index], averages.second_moment[index], features[index], with_clipped=True
        )
        network = jax.tree.map(lambda layer, index=index: layer[index], networks)
        direction, magnitude, _ = _apply_network(network, _normalize(x))
        steps.append(size[index] * direction * jnp.exp(steered.MAGNITUDE_MULTIPLIER * magnitude))
    lstm = architecture.next_lstm(theta["hypernetwork"], lstm)
    return steps, State(state.step + 1, averages, state.loss_buffer, lstm)


def _adafac_mlp(architecture: AdafacMLP, theta, grads, state: State, leaves):
    grads = accumulators.clean(grads, accumulators.LARGE_GRADIENT)
    averages, features = _accumulate(
        state.averages, grads, *architecture.decays(theta), unfactored_epsilon=adafac_mlp.UNFACTORED_EPSILON
    )
    of_steps = adafac_mlp.step_features(state.step)
    steps = []
    for index, (leaf, grad) in enumerate(zip(leaves, grads, strict=True)):
        x = parameter_network.parameter_features(
            grad, leaf, averages.momenta[index], averages.second_moment[index], features[index], with_clipped=False
        )
        same_for_all = jnp.broadcast_to(of_steps.reshape(-1, *[1] * leaf.ndim), (len(of_steps), *leaf.shape))
        inputs = jnp.concatenate([_normalize(x), same_for_all])
        direction, magnitude = _apply_network(theta["network"], inputs)
        steps.append(architecture.step_multiplier * direction * jnp.exp(architecture.magnitude_multiplier * magnitude))
    return steps, State(state.step + 1, averages, None, None)


def _accumulate(averages: Averages, grads, momentum_decays, second_moment_decay, factored_decays, unfactored_epsilon):
    factored, features = accumulators.Factoring(tuple(grad.shape for grad in grads)).update(
        averages.factored, grads, factored_decays, unfactored_epsilon
    )
    momenta = [
        accumulators.average(old, grad, momentum_decays) for old, grad in zip(averages.momenta, grads, strict=True)
    ]
    second_moment = [
        accumulators.average_once(old, jnp.square(grad), second_moment_decay)
        for old, grad in zip(averages.second_moment, grads, strict=True)
    ]
    return Averages(momenta, second_moment, factored), features


def _statistics(averages: Averages) -> Float[jax.Array, "tensors 8"]:
    """Means and variances of each tensor's averages."""
    stacks = [
        jnp.concatenate([momenta, moment[None]]).reshape(4, -1)
        for momenta, moment in zip(averages.momenta, averages.second_moment, strict=True)
    ]
    return jnp.stack([jnp.concatenate([jnp.mean(x, axis=1), jnp.var(x, axis=1)]) for x in stacks])


def _normalize(x: Float[jax.Array, "inputs *shape"]) -> jax.Array:
    """Every input of unit mean square."""
    return x * jax.lax.rsqrt(1e-5 + jnp.mean(jnp.square(x), axis=tuple(range(1, x.ndim)), keepdims=True))


def _apply_network(layers: Theta, x: Float[jax.Array, "inputs *shape"]) -> Float[jax.Array, "outputs *shape"]:
    for index, layer in enumerate(layers):
        if index > 0:
            x = jax.nn.relu(x)
        x = jnp.tensordot(layer["w"], x, axes=1) + layer["b"].reshape(-1, *[1] * (x.ndim - 1))
    return x
