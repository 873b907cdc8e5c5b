"""Records what passes through the layers while a loss is evaluated, for optimizers that need more than gradients.

    def probed(probes):
        with recording.record({"dense_0": params["dense_0"]["w"]}, key, probes) as recorder:
            loss = objective(params)
        return loss, recorder.inputs                       # layer -> [positions, inputs]

    output_gradients, inputs = jax.grad(probed, has_aux=True)(probes)

`layers.dense`, `layers.conv`, `layers.cross_entropy` and `layers.squared_error` report here. Without a recorder they
compute what they always do, and trace to the same program.
"""

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import get_opaque_trace_state

from tasks import prng
from velo.shapes import Array, Float, Int, PRNGKeyArray


@dataclasses.dataclass
class Recorder:
    """What one evaluation of a loss reports."""

    names: dict[int, str]
    """`id` of a kernel -> name of its layer."""
    key: PRNGKeyArray
    """For the targets that are sampled from the network's own predictions."""
    probes: Mapping[str, Array] | None
    """Layer -> what is added to its output."""
    trace: Any
    """JAX's trace state when the recording began."""
    inputs: dict[str, Array] = dataclasses.field(default_factory=dict)
    """Layer -> [positions, inputs]: a position is an example, a token, or a place of a convolution's output."""
    shapes: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    """Layer -> the shape of its output, [..., outputs]."""
    uses: dict[str, int] = dataclasses.field(default_factory=dict)
    """Layer -> how often it was used."""
    hidden: set[str] = dataclasses.field(default_factory=set)
    """Layers inside a loop or another transformation that starts within the recording. Their inputs can't leave it, so
    that only their uses are recorded."""
    num_terms: list[int] = dataclasses.field(default_factory=list)
    """For each loss, the number of independent terms of which it is the mean."""


_ACTIVE: contextvars.ContextVar[Recorder | None] = contextvars.ContextVar("recorder", default=None)


@contextlib.contextmanager
def record(
    kernels: Mapping[str, Array], key: PRNGKeyArray, probes: Mapping[str, Array] | None = None
) -> Iterator[Recorder]:
    """Records the layers of these kernels while the block runs, and replaces targets by samples of the predictions.

    Args:
        kernels: layer -> the very array that the loss will find in its parameters.
        key: for the sampled targets.
        probes: layer -> zeros with as many entries as its output, to which they are added. The gradient of the loss
            with respect to a probe is thus that with respect to the output.
    """
    recorder = Recorder({id(kernel): name for name, kernel in kernels.items()}, key, probes, get_opaque_trace_state())
    token = _ACTIVE.set(recorder)
    try:
        yield recorder
    finally:
        _ACTIVE.reset(token)


def layer(
    kernel: Array, inputs: Callable[[], Float[Array, "... inputs"]], output: Float[Array, "... outputs"]
) -> Array:
    """Reports a layer to the recorder, if there is one; returns its output, plus the probe if there is one."""
    recorder = _ACTIVE.get()
    if recorder is None or id(kernel) not in recorder.names:
        return output
    name = recorder.names[id(kernel)]
    recorder.uses[name] = recorder.uses.get(name, 0) + 1
    if get_opaque_trace_state() != recorder.trace:
        recorder.hidden.add(name)
        return output
    found = inputs()
    recorder.inputs[name] = found.reshape(-1, found.shape[-1])
    recorder.shapes[name] = output.shape
    return output if recorder.probes is None else output + recorder.probes[name].reshape(output.shape)


def labels(logits: Float[Array, "*batch classes"], labels: Int[Array, "*batch"]) -> Int[Array, "*batch"]:
    """The labels of a mean cross-entropy: unchanged, or with a recorder drawn from the softmax of the logits."""
    recorder = _ACTIVE.get()
    if recorder is None:
        return labels
    recorder.num_terms.append(labels.size)
    uniform = prng.uniform(recorder.key, logits.shape, minval=1e-7)
    return jnp.argmax(jax.lax.stop_gradient(logits) - jnp.log(-jnp.log(uniform)), axis=-1)


def targets(predicted: Float[Array, "batch ..."], target: Float[Array, "batch ..."]) -> Float[Array, "batch ..."]:
    """The targets of a mean squared error: unchanged, or with a recorder drawn around the predictions.

    The squared error of an example, averaged over its D entries, is up to a constant the negative log density of a
    normal distribution with a variance of D / 2 in every entry. The targets are drawn from this distribution.
    """
    recorder = _ACTIVE.get()
    if recorder is None:
        return target
    recorder.num_terms.append(len(predicted))
    deviation = (predicted.size / len(predicted) / 2.0) ** 0.5
    return jax.lax.stop_gradient(predicted) + deviation * prng.normal(recorder.key, predicted.shape)
