"""VeLO's update written tensor by tensor, all features of a parameter stacked: what the fast one is held to.

As the published implementations compute theirs: plain, and in time and memory several times the fast one's
(`benchmarks/update_step.py`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from velo import distance, features, guard, hypernetwork, packing, parameter_mlp, passes
from velo.architectures import velo
from velo.learned_optimizer import Theta
from velo.shapes import Float, Int


class TensorState(NamedTuple):
    momenta: Float[jax.Array, "*shape decays"]
    second_moment: Float[jax.Array, "*shape"]
    gradient_sum: Float[jax.Array, "*shape"]
    initial: Float[jax.Array, "*shape"]


class State(NamedTuple):
    step: Int[jax.Array, ""]
    tensors: list[TensorState]
    initial_size: Float[jax.Array, " tensors"]
    usual: guard.Usual
    distance: distance.Distance
    loss_history: features.LossHistory
    lstm: hypernetwork.LSTMState


def bind(architecture: velo.VeLO, theta: Theta, num_steps: int) -> optax.GradientTransformationExtraArgs:
    """The same transformation as `architecture.bind`, but for its state and its speed; for non-empty tensors."""

    def init(params):
        leaves = [jnp.asarray(leaf, jnp.float32) for leaf in jax.tree.leaves(params)]
        tensors = [
            TensorState(
                jnp.zeros((*leaf.shape, len(passes.MOMENTUM_DECAYS))),
                jnp.zeros(leaf.shape),
                jnp.zeros(leaf.shape),
                leaf,
            )
            for leaf in leaves
        ]
        return State(
            step=jnp.zeros((), jnp.int32),
            tensors=tensors,
            initial_size=jnp.stack([jnp.sqrt(jnp.mean(jnp.square(leaf))) for leaf in leaves]),
            usual=guard.init_usual(),
            distance=distance.init_distance(len(leaves), architecture.initial_distance),
            loss_history=features.init_loss_history(),
            lstm=hypernetwork.init_lstm(theta["hypernetwork"], len(leaves)),
        )

    def update(updates, state, params=None, *, value=None, **extra_args):
        del extra_args
        with jax.default_matmul_precision("highest"):
            return _update(architecture, theta, num_steps, updates, state, params, jnp.asarray(value))

    return optax.GradientTransformationExtraArgs(init, update)


def _update(architecture, theta, num_steps, grads, state: State, params, loss):
    leaves, treedef = jax.tree.flatten(params)
    fraction = jnp.minimum(state.step / jnp.float32(num_steps), 1.0)
    estimate = state.distance.estimate
    rate = architecture.nominal_rate(state.step, estimate, fraction)

    grads = [grad.astype(jnp.float32) for grad in treedef.flatten_up_to(grads)]
    factor, usual = guard.shorten(state.usual, grads)
    tensors, columns, inner_products = [], [], []
    for leaf, grad, tensor in zip(leaves, grads, state.tensors, strict=True):
        weight = leaf.astype(jnp.float32)
        grad = factor * jnp.where(jnp.abs(grad) < passes.MAX_GRADIENT, grad, 0.0)
        tensor = _accumulate(tensor, estimate * grad, rate)
        inner_products.append(jnp.sum(grad * (tensor.initial - weight)))
        columns.append(_features(tensor, estimate * grad, weight))
        tensors.append(tensor)

    means = [jnp.mean(x.reshape(-1, x.shape[-1]), axis=0) for x in columns]
    squares = [jnp.mean(jnp.square(x.reshape(-1, x.shape[-1])), axis=0) for x in columns]
    moments = velo.Moments(jnp.stack(squares), jnp.stack([m[1] for m in means]), jnp.stack([m[-1] for m in means]))
    sums = jnp.stack([jnp.sum(jnp.abs(tensor.gradient_sum)) for tensor in tensors])
    new_distance = distance.update_distance(state.distance, rate, jnp.stack(inner_products), sums)
    loss_history = features.update_loss_history(state.loss_history, loss, num_steps)
    inputs = velo.hypernetwork_inputs(
        packing.Layout(tuple(leaf.shape for leaf in leaves)),
        velo.run_features(fraction, loss_history, jnp.float32(num_steps)),
        velo.tensor_statistics(moments, state.initial_size, estimate, new_distance.per_tensor),
    )
    controls, lstm = hypernetwork.apply_hypernetwork(theta["hypernetwork"], state.lstm, inputs)
    networks = parameter_mlp.mix_bank(theta["bank"], controls.mixture)

    updates = []
    for index, (leaf, x) in enumerate(zip(leaves, columns, strict=True)):
        network = jax.tree.map(lambda layer, index=index: layer[index], networks)
        scales = jax.lax.rsqrt(squares[index] + 1e-30).reshape(*[1] * leaf.ndim, -1)
        direction, magnitude = jnp.moveaxis(_apply_mlp(network, x * scales), -1, 0)
        magnitude = jnp.clip(magnitude, -passes.MAX_LOG_MAGNITUDE, passes.MAX_LOG_MAGNITUDE)
        nominal = x[..., 3] / (x[..., -1] + new_distance.estimate * passes.EPSILON)
        size = jnp.minimum(1.0, jnp.sqrt(squares[index][6]))
        log_step = jnp.clip(controls.log_step[index], -velo.MAX_LOG_STEP, velo.MAX_LOG_STEP)
        step = rate * jnp.exp(log_step) * (architecture.nominal * nominal * jnp.exp(magnitude) + size * direction)
        updates.append(-step.astype(leaf.dtype))
    state = State(state.step + 1, tensors, state.initial_size, usual, new_distance, loss_history, lstm)
    return treedef.unflatten(updates), state


def _accumulate(tensor: TensorState, weighted, rate) -> TensorState:
    decays = jnp.array(passes.MOMENTUM_DECAYS).reshape(*[1] * weighted.ndim, -1)
    decay = passes.SECOND_MOMENT_DECAY
    return TensorState(
        decays * tensor.momenta + (1.0 - decays) * weighted[..., None],
        decay * tensor.second_moment + (1.0 - decay) * jnp.square(weighted),
        distance.DECAY * tensor.gradient_sum + rate * weighted,
        tensor.initial,
    )


def _features(tensor: TensorState, weighted, weight) -> Float[jax.Array, "*shape features"]:
    root = jnp.sqrt(tensor.second_moment)
    inverse = jnp.where(tensor.second_moment > passes.TINY_MOMENT, 1.0 / root, 0.0)
    single = jnp.stack([weighted, weight, weight - tensor.initial], axis=-1)
    scaled = tensor.momenta * inverse[..., None]
    return jnp.concatenate(
        [single, tensor.momenta, scaled, jnp.stack([weighted * inverse, inverse, root], axis=-1)], axis=-1
    )


def _apply_mlp(layers: Theta, x: Float[jax.Array, "*shape inputs"]) -> Float[jax.Array, "*shape outputs"]:
    for index, layer in enumerate(layers):
        if index > 0:
            x = jax.nn.relu(x)
        bias = layer["b"].reshape(*[1] * (x.ndim - 1), -1)
        x = x @ (layer["w"].T * layer["w"].shape[1] ** -0.5) + bias
    return x
