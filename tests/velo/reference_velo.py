"""VeLO's update written tensor by tensor, all features of a parameter stacked: what the fast one is held to.

As the published implementations compute theirs: plain, and in time and memory several times the fast one's
(`benchmarks/update_step.py`). The averages and the factors live in the original coordinates, as in SOAP (2409.11321),
and are rotated wherever they are read; the fast update keeps them in the eigenbasis and turns them with it.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from velo.architectures.lstm import LSTMState, init_lstm
from velo.architectures.pages import Layout
from velo.architectures.velo import architecture as rules
from velo.architectures.velo import (
    distance,
    eigenbasis,
    features,
    guard,
    hypernetwork,
    matrices,
    parameter_mlp,
    passes,
    tensor_inputs,
    unit,
)
from velo.architectures.velo.architecture import MAX_LOG_STEP, VeLO
from velo.architectures.velo.tensor_inputs import Moments
from velo.learned_optimizer import Theta
from velo.shapes import Float, Int


class TensorState(NamedTuple):
    momenta: Float[jax.Array, "*shape decays"]
    second_moment: Float[jax.Array, "*shape"]  # in the eigenbasis
    gradient_sum: Float[jax.Array, "*shape"]
    initial: Float[jax.Array, "*shape"]
    adam_second_moment: Any  # in the original coordinates
    factors: Any  # left and right, () for a tensor that is left alone
    vectors: Any
    of_factors: Float[jax.Array, " statistics"]  # of the latest refresh
    alignment: Float[jax.Array, ""]


class State(NamedTuple):
    step: Int[jax.Array, ""]
    unit: Float[jax.Array, ""]
    tensors: list[TensorState]
    initial_size: Float[jax.Array, " tensors"]
    usual: guard.Usual
    distance: distance.Distance
    loss_history: features.LossHistory
    lstm: LSTMState


def views(architecture: VeLO, leaves) -> list[matrices.View | None]:
    if not architecture.has_basis:
        return [None] * len(leaves)
    return [matrices.view(jnp.shape(leaf), architecture.max_side) for leaf in leaves]


def bind(architecture: VeLO, theta: Theta, num_steps: int) -> optax.GradientTransformationExtraArgs:
    """The same transformation as `architecture.bind`, but for its state and its speed; for non-empty tensors."""

    def start(leaf, view):
        sides = [] if view is None else [view.rows, view.columns]
        return TensorState(
            jnp.zeros((*leaf.shape, len(passes.MOMENTUM_DECAYS))),
            jnp.zeros(leaf.shape),
            jnp.zeros(leaf.shape),
            leaf,
            jnp.zeros(leaf.shape),
            [jnp.zeros((view.count, side, side)) for side in sides],
            [jnp.tile(jnp.eye(side)[None], (view.count, 1, 1)) for side in sides],
            jnp.zeros(3),
            jnp.zeros(()),
        )

    def init(params):
        leaves = [jnp.asarray(leaf, jnp.float32) for leaf in jax.tree.leaves(params)]
        return State(
            step=jnp.zeros((), jnp.int32),
            unit=jnp.zeros(()),
            tensors=[start(leaf, view) for leaf, view in zip(leaves, views(architecture, leaves), strict=True)],
            initial_size=jnp.stack([jnp.sqrt(jnp.mean(jnp.square(leaf))) for leaf in leaves]),
            usual=guard.init_usual(),
            distance=distance.init_distance(len(leaves), architecture.initial_distance),
            loss_history=features.init_loss_history(),
            lstm=init_lstm(theta["hypernetwork"], len(leaves)),
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
    decays = architecture.decays

    grads = [grad.astype(jnp.float32) for grad in treedef.flatten_up_to(grads)]
    square = jnp.sum(guard.squared_norms(grads))
    own_unit = unit.measure(state.unit, square / sum(grad.size for grad in grads))
    factor, usual = guard.shorten(state.usual, own_unit**2 * square)
    factor = factor * own_unit
    tensors, columns, inner_products, rotated_sums, of_bases = [], [], [], [], []
    all_views = views(architecture, leaves)
    for leaf, grad, tensor, view in zip(leaves, grads, state.tensors, all_views, strict=True):
        weight = leaf.astype(jnp.float32)
        grad = factor * jnp.where(jnp.abs(grad) < passes.MAX_GRADIENT, grad, 0.0)
        raw, counts = grad, (state.step > 0) | (not architecture.has_basis)
        tensor = _turn(architecture, view, tensor, grad, state.step)
        rotate = _rotation(view, tensor.vectors)
        rotated = rotate(grad)
        if view is not None:
            norm = jnp.sqrt(jnp.sum(jnp.square(rotated.reshape(view.count, -1)), axis=1))
            noise = eigenbasis.ROUNDING * jnp.repeat(norm, view.rows * view.columns).reshape(view.shape)
            rotated = jnp.where(jnp.abs(rotated) > noise, rotated, 0.0)
        grad, rotated = counts * grad, counts * rotated  # the first one only sets the bases
        tensor = _accumulate(decays, tensor, estimate * grad, estimate * rotated, rate)
        inner_products.append(jnp.sum(raw * (tensor.initial - weight)))
        columns.append(_features(tensor, rotate, estimate * rotated, weight))
        rotated_sums.append(jnp.sum(jnp.abs(rotate(tensor.gradient_sum))))
        of_bases.append(jnp.stack([jnp.float32(view is not None), *tensor.of_factors, tensor.alignment]))
        tensors.append(tensor)

    means = [jnp.mean(x.reshape(-1, x.shape[-1]), axis=0) for x in columns]
    squares = [jnp.mean(jnp.square(x.reshape(-1, x.shape[-1])), axis=0) for x in columns]
    weights = jnp.stack([jnp.mean(leaf.astype(jnp.float32)) for leaf in leaves])
    moments = Moments(jnp.stack(squares), weights, jnp.stack([m[-1] for m in means]))
    sums = jnp.stack([jnp.sum(jnp.abs(tensor.gradient_sum)) for tensor in tensors])
    sizes = np.array([leaf.size for leaf in leaves], np.float32)
    loss_history = features.update_loss_history(state.loss_history, loss, num_steps)
    averages = loss_history.means / jnp.maximum(loss_history.weights, 1e-12)
    is_rising = averages[2] > averages[6] + loss_history.noise
    new_distance = distance.update_distance(
        state.distance, rate, decays.gradient_sum, jnp.stack(inner_products), sums, sizes, is_rising
    )
    statistics = tensor_inputs.tensor_statistics(moments, state.initial_size, estimate, new_distance.per_tensor)
    if architecture.has_basis:
        ratio = features.log_ratio(sums, jnp.stack(rotated_sums))
        statistics = jnp.concatenate([statistics, jnp.stack(of_bases), ratio[:, None]], axis=1)
    inputs = tensor_inputs.hypernetwork_inputs(
        Layout(tuple(leaf.shape for leaf in leaves)),
        tensor_inputs.run_features(fraction, loss_history, jnp.float32(num_steps)),
        statistics,
        architecture.inputs,
    )
    controls, lstm = hypernetwork.apply_hypernetwork(theta["hypernetwork"], state.lstm, inputs)
    networks = parameter_mlp.mix_bank(theta["bank"], controls.mixture)

    updates = []
    for index, (leaf, x, view) in enumerate(zip(leaves, columns, all_views, strict=True)):
        network = jax.tree.map(lambda layer, index=index: layer[index], networks)
        scales = jax.lax.rsqrt(squares[index] + 1e-30)
        if view is not None:
            scales = scales.at[jnp.array(rules.OF_PARAMETERS)].set(0.0)
        scales = scales.reshape(*[1] * leaf.ndim, -1)
        direction, magnitude = jnp.moveaxis(_apply_mlp(network, x * scales), -1, 0)
        magnitude = jnp.clip(magnitude, -passes.MAX_LOG_MAGNITUDE, passes.MAX_LOG_MAGNITUDE)
        epsilon = new_distance.estimate * passes.EPSILON
        limit = decays.max_direction * x[..., -1]
        momentum = 0.9 * x[..., 3] + 0.1 * x[..., 0] if architecture.has_basis else x[..., 3]
        nominal = jnp.clip(momentum, -limit, limit) / (x[..., -1] + epsilon)
        direction = jnp.where(x[..., -1] > 0, direction, 0.0)
        size = jnp.minimum(1.0, jnp.sqrt(squares[index][6]))
        log_step = jnp.clip(controls.log_step[index], -MAX_LOG_STEP, MAX_LOG_STEP)
        scale = rate * jnp.exp(log_step)
        step = scale * (architecture.nominal * nominal * jnp.exp(magnitude) + size * direction)
        if view is not None:
            tensor = tensors[index]
            share = jnp.clip(controls.elementwise[index], 0.0, 1.0)
            adam = tensor.momenta[..., 0] / (jnp.sqrt(tensor.adam_second_moment) + epsilon)
            step = (1.0 - share) * _rotation(view, tensor.vectors, back=True)(step)
            seen = tensor.adam_second_moment > 0
            norms = jnp.sqrt(jnp.sum(step**2) * jnp.sum(adam**2))
            cosine = jnp.where(norms > 0, jnp.sum(step * adam) / jnp.where(norms > 0, norms, 1.0), 0.0)
            tensors[index] = tensor._replace(alignment=cosine)
            step = jnp.where(seen, step + share * scale * rules.adam_correction(state.step, 0.9, 0.999) * adam, 0.0)
        updates.append(-step.astype(leaf.dtype))
    state = State(state.step + 1, own_unit, tensors, state.initial_size, usual, new_distance, loss_history, lstm)
    return treedef.unflatten(updates), state


def _turn(architecture, view, tensor: TensorState, grad, step) -> TensorState:
    if view is None:
        return tensor
    decay = eigenbasis.FACTOR_DECAY
    factors, vectors = [], []
    is_refreshed = step % architecture.refresh_every == 0
    products = ("kij,klj->kil", "kij,kil->kjl")
    for factor, q, equation, turned in zip(tensor.factors, tensor.vectors, products, view.turned, strict=True):
        g = view.split(grad)
        factor = decay * factor + (1.0 - decay) * jnp.einsum(equation, g, g)
        new, r = jnp.linalg.qr(factor @ q)
        new = new * jnp.where(jnp.diagonal(r, axis1=-2, axis2=-1) < 0, -1.0, 1.0)[:, None]
        first = jnp.linalg.eigh(factor)[1][..., ::-1]
        extremes = jnp.stack([jnp.max(first, axis=1), -jnp.min(first, axis=1)])
        first = first * jnp.where(extremes[0] < extremes[1], -1.0, 1.0)[:, None]
        new = jnp.where(step == 0, first, new)
        factors.append(factor)
        vectors.append(jnp.where(turned & is_refreshed, new, q))
    of_factors = _factor_statistics(view, factors, tensor.vectors, step > 0)
    of_factors = jnp.where(is_refreshed, of_factors, tensor.of_factors)
    return tensor._replace(factors=factors, vectors=vectors, of_factors=of_factors)


def _rotation(view, vectors, *, back: bool = False):
    """From the original coordinates to those of the basis, laid out matrix by matrix, or back."""
    if view is None:
        return lambda x: x
    left, right = vectors
    if back:
        return lambda x: view.join(
            jnp.einsum("kai,kij,kbj->kab", left, x.reshape(view.count, view.rows, view.columns), right)
        )
    return lambda x: jnp.einsum("kia,kij,kjb->kab", left, view.split(x), right).reshape(view.shape)


def _factor_statistics(view, factors, vectors, is_turned) -> Float[jax.Array, " statistics"]:
    ranks, off = [], []
    for factor, q, turned in zip(factors, vectors, view.turned, strict=True):
        inside = jnp.einsum("kia,kij,kjb->kab", q, factor, q)
        diagonal = jnp.diagonal(inside, axis1=-2, axis2=-1)
        squares = jnp.sum(inside**2, axis=(-1, -2))
        rank = features.log_ratio(jnp.sum(diagonal, axis=-1) ** 2, squares * diagonal.shape[-1])
        ranks.append(jnp.mean(rank) if turned else jnp.zeros(()))
        if turned:
            off.append(jnp.mean(1.0 - jnp.sum(diagonal**2, axis=-1) / squares))
    return jnp.stack([*ranks, jnp.where(is_turned, sum(off) / len(off), 0.0)])


def _accumulate(decays, tensor: TensorState, weighted, rotated, rate) -> TensorState:
    momentum_decays = jnp.array(passes.MOMENTUM_DECAYS).reshape(*[1] * weighted.ndim, -1)
    decay, adam_decay = decays.second_moment, eigenbasis.SECOND_MOMENT_DECAY
    return tensor._replace(
        momenta=momentum_decays * tensor.momenta + (1.0 - momentum_decays) * weighted[..., None],
        second_moment=decay * tensor.second_moment + (1.0 - decay) * jnp.square(rotated),
        gradient_sum=decays.gradient_sum * tensor.gradient_sum + rate * weighted,
        adam_second_moment=adam_decay * tensor.adam_second_moment + (1.0 - adam_decay) * jnp.square(weighted),
    )


def _features(tensor: TensorState, rotate, weighted, weight) -> Float[jax.Array, "*shape features"]:
    root = jnp.sqrt(tensor.second_moment)
    inverse = jnp.where(tensor.second_moment > passes.TINY_MOMENT, 1.0 / root, 0.0)
    single = jnp.stack([weighted, weight, weight - tensor.initial], axis=-1)
    momenta = jnp.stack([rotate(tensor.momenta[..., index]) for index in range(tensor.momenta.shape[-1])], axis=-1)
    scaled = momenta * inverse[..., None]
    return jnp.concatenate([single, momenta, scaled, jnp.stack([weighted * inverse, inverse, root], axis=-1)], axis=-1)


def _apply_mlp(layers: Theta, x: Float[jax.Array, "*shape inputs"]) -> Float[jax.Array, "*shape outputs"]:
    for index, layer in enumerate(layers):
        if index > 0:
            x = jax.nn.relu(x)
        bias = layer["b"].reshape(*[1] * (x.ndim - 1), -1)
        x = x @ (layer["w"].T * layer["w"].shape[1] ** -0.5) + bias
    return x
