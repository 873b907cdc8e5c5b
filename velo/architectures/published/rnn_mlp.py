"""RNNMLP: an LSTM over tensors and a per-parameter network that feed each other.

Source: 2009.11243. The reference can read validation losses too; here it never does, as the reference before the first
of them.
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from velo.architectures import single_precision
from velo.architectures.lstm import LSTMState
from velo.architectures.pages import Layout
from velo.architectures.published import accumulators, hypernetwork, loss_normalizer, parameter_network
from velo.learned_optimizer import LearnedOptimizer, Theta
from velo.shapes import Float, Int, PRNGKeyArray

STEP_TIMESCALES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5)
NUM_TENSOR_FEATURES = 18
NUM_PARAMETER_FEATURES = 23
NUM_CONTEXT_FEATURES = len(STEP_TIMESCALES) + 3
CLIP_DECAY = 0.99
CLIP_FACTOR = 10.0


class State(NamedTuple):
    """In float32; pages as in `velo.architectures.pages`."""

    step: Int[jax.Array, ""]
    momenta: Float[jax.Array, "decays pages width"]
    second_moments: Float[jax.Array, "decays pages width"]
    lstm: LSTMState
    from_mlp: Float[jax.Array, "tensors features"]
    from_lstm: Float[jax.Array, " features"]
    loss: loss_normalizer.LossNormalizer
    gradient_size: Float[jax.Array, ""]  # average root mean square of clipped gradients, not bias-corrected


@dataclasses.dataclass(frozen=True)
class RNNMLP(LearnedOptimizer):
    """The architecture; the defaults are the reference's sizes."""

    lstm_size: int = 64
    mlp_width: int = 32
    mlp_depth: int = 2
    from_mlp_size: int = 16
    from_lstm_size: int = 18
    lstm_to_mlp_size: int = 17
    step_multiplier: float = 0.001
    magnitude_multiplier: float = 0.001
    decays: tuple[float, float, float, float, float] = (0.5, 0.9, 0.99, 0.999, 0.9999)

    def __post_init__(self):
        for name in ("lstm_size", "mlp_width", "mlp_depth", "from_mlp_size", "from_lstm_size", "lstm_to_mlp_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"RNNMLP: {name} must be at least 1, got {getattr(self, name)}")
        if len(self.decays) != 5 or not all(0 <= decay < 1 for decay in self.decays):
            raise ValueError(f"RNNMLP: decays must be five numbers in [0, 1), got {self.decays}")

    @single_precision.initialization
    def init(self, key: PRNGKeyArray) -> Theta:
        keys = jax.random.split(key, 6)
        num_tensor_inputs = NUM_TENSOR_FEATURES + self.from_mlp_size + self.from_lstm_size
        num_inputs = NUM_PARAMETER_FEATURES + NUM_CONTEXT_FEATURES + self.lstm_to_mlp_size
        sizes = (num_inputs, *[self.mlp_width] * self.mlp_depth, 2 + self.from_mlp_size)
        linear = hypernetwork.init_linear
        return {
            "lstm": linear(keys[0], num_tensor_inputs + self.lstm_size, 4 * self.lstm_size),
            "to_mlp": linear(keys[1], self.lstm_size, self.lstm_to_mlp_size),
            "to_lstm": linear(keys[2], self.lstm_size, self.from_lstm_size),
            "network": jax.tree.map(lambda leaf: leaf[0], parameter_network.init_bank(keys[3], 1, sizes)),
            "initial_hidden": jnp.zeros(self.lstm_size),
            "initial_cell": jnp.zeros(self.lstm_size),
            "initial_from_mlp": hypernetwork.truncated_normal(keys[4], (self.from_mlp_size,), self.from_mlp_size),
            "initial_from_lstm": hypernetwork.truncated_normal(keys[5], (self.from_lstm_size,), self.from_lstm_size),
        }

    def bind(self, theta: Theta, num_steps: int | Int[jax.Array, ""]) -> optax.GradientTransformationExtraArgs:
        """As in the interface; `num_steps` has no influence, since the networks only read the number of steps done."""
        del num_steps

        def init(params):
            shapes = tuple(jnp.shape(leaf) for leaf in jax.tree.leaves(params))
            pages = (len(self.decays), *Layout(shapes).zeros().shape)
            initial = LSTMState(_tile(theta["initial_hidden"], len(shapes)), _tile(theta["initial_cell"], len(shapes)))
            return State(
                step=jnp.zeros((), jnp.int32),
                momenta=jnp.zeros(pages),
                second_moments=jnp.zeros(pages),
                lstm=initial,
                from_mlp=_tile(theta["initial_from_mlp"], len(shapes)),
                from_lstm=jnp.array(theta["initial_from_lstm"], copy=True),  # states get donated, theta must not be
                loss=loss_normalizer.init_loss_normalizer(),
                gradient_size=jnp.asarray(1.0 - CLIP_DECAY, jnp.float32),
            )

        def update(updates, state, params, loss):
            return self._update(theta, updates, state, params, loss)

        return single_precision.transformation(init, update)

    def _update(self, theta, grads, state, params, loss):
        leaves, treedef = jax.tree.flatten(params)
        layout = Layout(tuple(jnp.shape(leaf) for leaf in leaves))
        weights = layout.pack(leaves)
        grad = layout.pack(accumulators.clean(treedef.flatten_up_to(grads), accumulators.LARGE_GRADIENT))
        grad, gradient_size = _clip(layout, grad, state)
        decays = jnp.array(self.decays)
        state = state._replace(
            momenta=accumulators.average(state.momenta, grad, decays),
            second_moments=accumulators.average(state.second_moments, jnp.square(grad), decays),
            loss=loss_normalizer.update_loss_normalizer(state.loss, loss),
            gradient_size=gradient_size,
        )
        inputs = _tensor_inputs(layout, grad, weights, state, loss)
        lstm = hypernetwork.lstm_step(theta["lstm"], state.lstm, inputs)
        to_mlp = hypernetwork.linear(theta["to_mlp"], lstm.hidden)
        context = jnp.concatenate([_context(layout, weights, state.step), to_mlp], axis=1)
        out = _apply_network(layout, theta["network"], _parameter_inputs(layout, grad, weights, state), context)

        steps = layout.unpack(self.step_multiplier * out[:, 0] * jnp.exp(self.magnitude_multiplier * out[:, 1]))
        updates = [-step.astype(leaf.dtype) for step, leaf in zip(steps, leaves, strict=True)]
        state = state._replace(
            step=state.step + 1,
            lstm=lstm,
            from_mlp=_mean(layout, out[:, 2:]),
            from_lstm=jnp.mean(hypernetwork.linear(theta["to_lstm"], lstm.hidden), axis=0),
        )
        return treedef.unflatten(updates), state


def _clip(layout: Layout, grad, state: State):
    """Clips to ten times the average root mean square of the gradients so far, and updates that average."""
    limit = CLIP_FACTOR * state.gradient_size / (1.0 - CLIP_DECAY ** (state.step + 1).astype(jnp.float32))
    grad = jnp.clip(grad, -limit, limit)
    mean_square = jnp.mean(_mean(layout, jnp.square(grad)[:, None]))
    size = CLIP_DECAY * state.gradient_size + (1.0 - CLIP_DECAY) * jnp.sqrt(1e-8 + mean_square)
    return grad, size


def _tensor_inputs(layout: Layout, grad, weights, state: State, loss) -> Float[jax.Array, "tensors inputs"]:
    """What the LSTM reads, in the order of the reference (by name)."""
    num_tensors = len(layout.shapes)
    norm = jnp.sqrt(layout.sum_by_tensor(jnp.sum(jnp.square(jnp.stack([grad, weights], axis=1)), axis=2)))
    momentum_mean, momentum_variance = _mean_and_variance(layout, state.momenta)
    square_mean, square_variance = _mean_and_variance(layout, state.second_moments)
    weight_mean, weight_variance = _mean_and_variance(layout, weights[None])
    scalar = np.array([1.0 if len(shape) == 0 else -1.0 for shape in layout.shapes], np.float32)
    sizes = [(*shape, 1, 1, 1, 1)[:4] for shape in layout.shapes]
    log_sizes = np.log(np.maximum(np.array(sizes, np.float32).reshape(-1, 4), 1e-8)) - 1.0
    train = _tile(loss_normalizer.normalized(state.loss, loss), num_tensors)
    valid = _tile(loss_normalizer.normalized(state.loss, jnp.zeros(())), num_tensors)
    columns = [
        _log_abs(norm[:, 0]),
        scalar,
        _log_abs(momentum_mean),
        jnp.sign(momentum_mean),
        _log_abs(square_mean),
        jnp.sign(square_mean),
        _log_abs(weight_mean),
        jnp.sign(weight_mean),
        _log_abs(norm[:, 1]),
        *log_sizes.T,
        train,
        valid,
        _log_abs(momentum_variance),
        _log_abs(square_variance),
        _log_abs(weight_variance),
    ]
    own = jnp.stack([jnp.asarray(column, jnp.float32) for column in columns], axis=1)
    return jnp.concatenate([_tile(state.from_lstm, num_tensors), state.from_mlp, own], axis=1)


def _parameter_inputs(layout: Layout, grad, weights, state: State) -> Float[jax.Array, "pages inputs width"]:
    """What the network reads of each parameter, every input of unit mean square over its tensor."""
    root = jax.lax.rsqrt(state.second_moments + 1e-6)
    single = jnp.stack([grad, weights, jnp.log(jnp.abs(weights) + 1e-8)])
    rows = [single, state.momenta, state.second_moments, state.momenta * root, root]
    x = parameter_network.by_page(layout, jnp.concatenate(rows))
    return x * parameter_network.normalizers(layout, x)[layout.tensor_of_page][:, :, None]


def _context(layout: Layout, weights, step) -> Float[jax.Array, "tensors inputs"]:
    """What the network reads of the run and of the tensor, besides the LSTM's outputs."""
    num_tensors = len(layout.shapes)
    steps = jnp.sin(step.astype(jnp.float32) / (jnp.array(STEP_TIMESCALES) * jnp.pi))
    norm = jnp.sqrt(layout.sum_by_tensor(jnp.sum(jnp.square(weights), axis=1)))
    counts = np.log(np.maximum(layout.sizes, 1)).astype(np.float32)
    log_tensors = np.full(num_tensors, math.log(max(num_tensors, 1)) - 1.0, np.float32)
    own = jnp.stack([jnp.asarray(log_tensors), jnp.log(norm + 1e-8), jnp.asarray(counts)], axis=1)
    return jnp.concatenate([_tile(steps, num_tensors), own], axis=1)


def _apply_network(layout: Layout, network, x, context) -> Float[jax.Array, "pages outputs width"]:
    """ReLU network on the inputs of each parameter and, the same for a whole tensor, the context."""
    num_inputs = x.shape[1]
    first, *rest = network
    bias = context @ first["w"][:, num_inputs:].T + first["b"][None]
    x = first["w"][None, :, :num_inputs] @ x + bias[layout.tensor_of_page][:, :, None]
    for layer in rest:
        x = layer["w"][None] @ jax.nn.relu(x) + layer["b"][None, :, None]
    return x


def _mean(layout: Layout, x: Float[jax.Array, "pages inputs width"]) -> Float[jax.Array, "tensors inputs"]:
    counts = np.maximum(layout.sizes, 1).astype(np.float32)[:, None]
    return layout.sum_by_tensor(jnp.sum(x * layout.occupied[:, None], axis=2)) / counts


def _mean_and_variance(layout: Layout, x: Float[jax.Array, "decays pages width"]):
    """Over each tensor and all decays."""
    mean = jnp.mean(_mean(layout, jnp.swapaxes(x, 0, 1)), axis=1)
    centred = x - mean[layout.tensor_of_page][None, :, None]
    return mean, jnp.mean(_mean(layout, jnp.swapaxes(jnp.square(centred), 0, 1)), axis=1)


def _log_abs(x: jax.Array) -> jax.Array:
    return jnp.clip(jnp.log(1e-8 + jnp.abs(x)), -5.0, 5.0)


def _tile(x: jax.typing.ArrayLike, num_tensors: int) -> jax.Array:
    return jnp.broadcast_to(jnp.asarray(x)[None], (num_tensors, *jnp.shape(x)))
