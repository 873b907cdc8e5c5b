"""K-FAC (1503.05671) for dense and convolutional layers (1602.01407), with damping that stays right at every width."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from evaluation.baselines.kronecker import Damping
from tasks.families import recording
from velo.shapes import Array, Float, PRNGKeyArray

TINY = 1e-30
"""Least damping; it makes the factors of a layer without any gradient invertible."""
DECAY, FREQUENCY = 0.95, 10
"""Decay of the factors' moving averages; number of steps from one inversion to the next."""


class Factors(NamedTuple):
    """The Kronecker factors of a layer's block of the Fisher matrix, or their damped inverses."""

    inputs: Float[Array, "inputs inputs"]
    """A: the second moment of the layer's inputs, to which a last entry of 1 is added if the layer has a bias."""
    outputs: Float[Array, "outputs outputs"]
    """B: the second moment of the gradient with respect to the layer's outputs."""


class KfacState(NamedTuple):
    factors: dict[str, Factors]  # moving averages from zero
    inverses: dict[str, Factors]
    count: jax.Array


def scale_by_kfac(
    damping: Damping, *, decay: float = DECAY, frequency: int = FREQUENCY
) -> optax.GradientTransformationExtraArgs:
    """The natural gradient, layer by layer. For a layer with the gradient G [inputs, outputs], at step t from 1:

        A <- decay A + (1 - decay) sum_p a_p a_p^T / num_terms
        B <- decay B + (1 - decay) num_terms^2 sum_p g_p g_p^T / num_positions
        step = (A / (1 - decay^t) + rho_A I)^-1 G (B / (1 - decay^t) + rho_B I)^-1

    p runs over the num_positions at which the layer is applied: the examples; for a convolution, the places in every
    example; for text, the tokens. a_p is the input at p, g_p the gradient of the loss with respect to the output at p.
    The loss is a mean of num_terms terms. For convolutions A and B are Omega and Gamma of 1602.01407, equations 23 to
    28.

    The g_p come from a second pass over the step's batch, with targets that are drawn from the network's predictions.
    So the Kronecker product of A and B estimates the Fisher matrix and not the second moment of the gradients
    (1503.05671, section 5).

    Requirements: every parameter is the kernel "w" or the bias "b" of a layer. The objective applies each layer once,
    by `tasks.families.layers.dense` or `conv`, outside loops, `jax.vmap` and `jax.jit`. It takes one loss, by
    `cross_entropy` or `squared_error` of that module. `update` needs `params`, and the objective of the step's batch
    (params -> loss) as `obj_fn`, which `tasks.inner_loop` passes.

    The inverses are computed at steps 1, 1 + frequency, ...

    Args:
        damping: gives rho of a debiased factor.
        decay: in [0, 1).

    Raises:
        ValueError: from `init` or `update`, in one line, if a requirement isn't met.
    """

    def init(params):
        shapes = {name: _sides(name, layer) for name, layer in _layers(params).items()}
        zeros = {
            name: Factors(jnp.zeros((inputs, inputs)), jnp.zeros((outputs, outputs)))
            for name, (inputs, outputs) in shapes.items()
        }
        return KfacState(zeros, zeros, jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, *, obj_fn: Callable[[Any], Any] | None = None, **extra_args):
        del extra_args
        if params is None or obj_fn is None:
            raise ValueError("kfac: update needs params, and the objective of the step's batch as obj_fn")
        new = estimate(obj_fn, params, jax.random.fold_in(jax.random.key(0), state.count))
        factors = jax.tree.map(lambda old, fresh: decay * old + (1.0 - decay) * fresh, state.factors, new)
        debias = 1.0 - decay ** (state.count + 1)
        inverses = jax.lax.cond(
            state.count % frequency == 0,
            lambda: jax.tree.map(lambda factor: _inverse(factor / debias, damping), factors),
            lambda: state.inverses,
        )
        leaves = _layers(updates)
        steps = {name: _precondition(leaves[name], inverses[name]) for name in leaves}
        return _restore(updates, steps), KfacState(factors, inverses, state.count + 1)

    return optax.GradientTransformationExtraArgs(init, update)


def limited(tx: optax.GradientTransformationExtraArgs) -> optax.GradientTransformationExtraArgs:
    """Limits the steps of `tx` to a length of 1 in the metric of its own curvature.

    If step = C^-1 gradient, the length is sqrt(gradient^T step). Half its square estimates how far the step moves the
    predictions, in nats. The limit is for networks that start confident and wrong: their gradients are large, and they
    have hardly any curvature.

    Deviation: Ba et al. (ICLR 2017, section 5) limit the product of learning rate and step, by a constant to tune.
    """

    def update(updates, state, params=None, **extra_args):
        steps, state = tx.update(updates, state, params, **extra_args)
        square = optax.tree.vdot(updates, steps)
        return optax.tree.scale(jax.lax.rsqrt(jnp.maximum(square, 1.0)), steps), state

    return optax.GradientTransformationExtraArgs(tx.init, update)


def kfac(learning_rate: Any, *, damping: Damping, momentum=0.9) -> optax.GradientTransformation:
    """K-FAC with limited steps and momentum.

    Deviation: 1503.05671 adapts the damping, and rescales the step by a quadratic model. Both take further evaluations
    of the loss; here the learning rate is tuned instead.

    Args:
        learning_rate: a number, or a function of the number of steps taken.
    """
    return optax.chain(
        limited(scale_by_kfac(damping)), optax.trace(momentum), optax.scale_by_learning_rate(learning_rate)
    )


def estimate(objective: Callable[[Any], Any], params: Any, key: PRNGKeyArray) -> dict[str, Factors]:
    """The factors of every layer from one batch, without damping.

    Args:
        objective: params -> the loss of the batch.
        key: PRNG key of the sampled targets.

    Returns:
        Path of a layer in `params`, such as "mlp/dense_0" -> its factors.

    Raises:
        ValueError: K-FAC can't handle a layer or the loss.
    """
    layers = _layers(params)
    found: dict[str, Any] = {}

    def evaluate(probes):
        with recording.record({name: layer["w"] for name, layer in layers.items()}, key, probes) as recorder:
            loss = objective(params)
        _check(list(layers), recorder)
        found.update(shapes=recorder.shapes, num_terms=recorder.num_terms[0])
        return loss, {name: _inputs_factor(x, "b" in layers[name]) for name, x in recorder.inputs.items()}

    jax.eval_shape(evaluate, None)
    probes = {name: jnp.zeros(shape) for name, shape in found["shapes"].items()}
    gradients, inputs = jax.grad(evaluate, has_aux=True)(probes)
    num_terms = found["num_terms"]
    return {name: Factors(inputs[name] / num_terms, num_terms**2 * _outputs_factor(gradients[name])) for name in layers}


def _check(names: list[str], recorder: recording.Recorder) -> None:
    """Raises a ValueError unless each layer was applied once, outside loops and transformations, and one loss taken."""
    for name in names:
        uses = recorder.uses.get(name, 0)
        if name in recorder.hidden:
            raise ValueError(
                f"kfac: layer {name!r} is applied inside of a loop (a recurrent network, say), jax.vmap or jax.jit"
            )
        if uses != 1:
            raise ValueError(
                f"kfac: layer {name!r} must be applied once an evaluation by layers.dense or layers.conv, "
                f"on its parameters as they are; found {uses} times"
            )
    if len(recorder.num_terms) != 1:
        raise ValueError(
            "kfac: the objective must take one loss, by layers.cross_entropy or layers.squared_error; "
            f"found {len(recorder.num_terms)}"
        )


def _inputs_factor(inputs: Float[Array, "positions inputs"], has_bias: bool) -> Float[Array, "rows rows"]:
    """Sum over the positions of the outer product of the inputs, with an entry of 1 for the bias."""
    if has_bias:
        inputs = jnp.concatenate([inputs, jnp.ones((len(inputs), 1))], axis=1)
    return inputs.T @ inputs


def _outputs_factor(gradients: Float[Array, "... outputs"]) -> Float[Array, "outputs outputs"]:
    """Mean over the positions of the outer product of the gradients."""
    gradients = gradients.reshape(-1, gradients.shape[-1])
    return gradients.T @ gradients / len(gradients)


def _inverse(factor: Float[Array, "n n"], damping: Damping) -> Float[Array, "n n"]:
    identity = jnp.eye(len(factor))
    damped = factor + jnp.maximum(damping(factor), TINY) * identity
    return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(damped), identity)


def _precondition(layer: Mapping[str, Array], inverses: Factors) -> dict[str, Array]:
    """A^-1 G B^-1 for the gradients of a layer."""
    kernel = layer["w"].reshape(-1, layer["w"].shape[-1])
    rows = jnp.concatenate([kernel, layer["b"][None]]) if "b" in layer else kernel
    step = inverses.inputs @ rows.astype(jnp.float32) @ inverses.outputs
    new = {"w": step[: len(kernel)].reshape(layer["w"].shape).astype(layer["w"].dtype)}
    return new | ({"b": step[-1].astype(layer["b"].dtype)} if "b" in layer else {})


def _is_layer(node: Any) -> bool:
    return isinstance(node, Mapping) and "w" in node and set(node) <= {"w", "b"}


def _layers(tree: Any) -> dict[str, Mapping[str, Array]]:
    """Path -> layer. Raises a ValueError that names the first leaf that isn't part of a layer."""
    found = {}
    for path, node in jax.tree_util.tree_leaves_with_path(tree, is_leaf=_is_layer):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if not _is_layer(node):
            raise ValueError(
                f"kfac: parameter {name!r} is no kernel 'w' or bias 'b' of a dense or convolutional layer, "
                "and K-FAC knows no other (norms, embedding tables)"
            )
        found[name] = node
    return found


def _restore(tree: Any, layers: Mapping[str, Any]) -> Any:
    """`tree` with its layers replaced by `layers`, which are in the same order."""
    _, treedef = jax.tree.flatten(tree, is_leaf=_is_layer)
    return treedef.unflatten(layers.values())


def _sides(name: str, layer: Mapping[str, Array]) -> tuple[int, int]:
    """(number of inputs, plus 1 if there is a bias; number of outputs)."""
    shape = jnp.shape(layer["w"])
    if len(shape) not in (2, 4):
        raise ValueError(
            f"kfac: the kernel of layer {name!r} must have the shape (inputs, outputs) or "
            f"(height, width, inputs, outputs), got {shape}"
        )
    return layer["w"].size // shape[-1] + ("b" in layer), shape[-1]
