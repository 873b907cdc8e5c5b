"""What a learned optimizer does to a network: step sizes, the LSTM's controls and the loss features over time."""

import dataclasses
from os import PathLike
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from velo.architectures import single_precision
from velo.architectures.velo import features
from velo.architectures.velo.architecture import MAX_LOG_STEP, VeLO
from velo.extras import png, require
from velo.learned_optimizer import LearnedOptimizer, Theta
from velo.shapes import Float, Int, PRNGKeyArray
from velo.training.result import Step
from velo.transformation import Weights, resolve_weights

MAX_LEGEND = 10


class Observation(NamedTuple):
    """One update, by tensor in the order of the tree; steps are those before `step_scale` and weight decay."""

    step: Int[jax.Array, ""]  # updates done
    step_rms: Float[jax.Array, " tensors"]
    param_rms: Float[jax.Array, " tensors"]  # before the update
    grad_rms: Float[jax.Array, " tensors"]
    log_step: Float[jax.Array, " tensors"]  # the LSTM's factor on the step, as a logarithm; NaN except in VeLO
    controls: Float[jax.Array, "tensors bank"]  # the LSTM's mixture of the bank; no columns except in VeLO
    loss_features: Float[jax.Array, " features"]  # empty except in VeLO
    distance: Float[jax.Array, ""]  # Prodigy's estimate; NaN except in VeLO


class ObservedState(NamedTuple):
    """State of the observed optimizer, and the observation of its latest update."""

    inner: Any
    observation: Observation


@dataclasses.dataclass(frozen=True)
class Observed(LearnedOptimizer):
    """The same optimizer, whose state holds an `Observation` of the latest update; VeLO's updates then run in JAX."""

    architecture: LearnedOptimizer

    def init(self, key: PRNGKeyArray) -> Theta:
        return self.architecture.init(key)

    def bind(self, theta: Theta, num_steps: int | Int[jax.Array, ""]) -> optax.GradientTransformationExtraArgs:
        tx = self.architecture.bind(theta, num_steps)

        def init(params):
            state = tx.init(params)
            blank = jax.tree.map(jnp.zeros_like, params)
            return ObservedState(state, self._observe(0, blank, blank, params, state, None))

        def update(updates, state, params, loss):
            controls = None
            if isinstance(self.architecture, VeLO):
                steps, inner, controls = self.architecture.update_with_controls(
                    theta, num_steps, updates, state.inner, params, loss
                )
            else:
                steps, inner = tx.update(updates, state.inner, params, value=loss)
            observation = self._observe(state.observation.step + 1, steps, updates, params, inner, controls)
            return steps, ObservedState(inner, observation)

        return single_precision.transformation(init, update)

    def _observe(self, step, steps, grads, params, state, controls) -> Observation:
        num_tensors = len(jax.tree.leaves(params))
        bank = self.architecture.num_mixtures if isinstance(self.architecture, VeLO) else 0
        history = getattr(state, "loss_history", None)
        distance = getattr(state, "distance", None)
        return Observation(
            jnp.asarray(step, jnp.int32),
            _rms(steps),
            _rms(params),
            _rms(grads),
            jnp.full(num_tensors, jnp.nan)
            if controls is None
            else jnp.clip(controls.log_step, -MAX_LOG_STEP, MAX_LOG_STEP),
            jnp.zeros((num_tensors, bank)) if controls is None else controls.mixture,
            jnp.zeros(0) if history is None else features.loss_features(history),
            jnp.float32(jnp.nan) if distance is None else distance.estimate,
        )


def observe(weights: Weights = "default") -> tuple[Observed, Theta]:
    """Weights whose optimizer observes its updates: for `velo.optimizer(num_steps, observe(...))` or `velo.fit`."""
    architecture, theta = resolve_weights(weights)
    return Observed(architecture), theta


class Record:
    """Collects observations, as a callback of `velo.fit` or by `add`.

    Args:
        params: the parameters that the optimizer trains, for the names and sizes of its tensors.
        every: as a callback, it keeps the first update that it sees and each whose number is a multiple of this. `add`
            keeps any.
    """

    def __init__(self, params: Any, every: int = 1):
        leaves, _ = jax.tree_util.tree_flatten_with_path(params)
        self.names = [jax.tree_util.keystr(path, simple=True, separator="/") or "params" for path, _ in leaves]
        self.sizes = [int(np.prod(np.shape(leaf))) for _, leaf in leaves]
        self.every = every
        self.observations: list[Observation] = []

    def __call__(self, step: Step) -> None:
        if step.step % self.every == 0 or not self.observations:
            self.add(step.state.opt_state)

    def add(self, opt_state: Any) -> None:
        """Keeps the observation in this optimizer state, unless it is no later than the last one kept.

        Raises:
            ValueError: the state holds no observation, or one of other parameters.
        """
        nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, Observation))
        found = [node for node in nodes if isinstance(node, Observation)]
        if not found:
            raise ValueError("nothing is observed: make the optimizer with weights=velo.diagnostics.observe(weights)")
        observation = jax.device_get(found[0])
        if len(observation.step_rms) != len(self.names):
            raise ValueError(
                f"the optimizer trains {len(observation.step_rms)} tensors, and this record was made for "
                f"{len(self.names)}: make it with the parameters that are trained"
            )
        if not self.observations or observation.step > self.observations[-1].step:
            self.observations.append(observation)

    def table(self) -> dict[str, np.ndarray]:
        """Columns of equal length, a row for each kept update and tensor: `pandas.DataFrame(record.table())`.

        `relative_step` is the root mean square of the step over that of the parameters. `control_K` are the LSTM's
        controls of the tensor. `loss_feature_K` and `distance` belong to the run and are the same for every tensor.
        """
        num_steps, num_tensors = len(self.observations), len(self.names)
        each = {
            name: np.concatenate([np.asarray(getattr(o, name)) for o in self.observations] or [np.zeros(0)])
            for name in ("step_rms", "param_rms", "grad_rms", "log_step")
        }
        controls = np.concatenate([o.controls for o in self.observations] or [np.zeros((0, 0))])
        run = [[*o.loss_features, o.distance] for o in self.observations for _ in self.names]
        run = np.array(run).reshape(num_steps * num_tensors, len(run[0]) if run else 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = each["step_rms"] / each["param_rms"]
        return {
            "step": np.repeat([int(o.step) for o in self.observations], num_tensors),
            "tensor": np.array(self.names * num_steps),
            "size": np.array(self.sizes * num_steps),
            **each,
            "relative_step": relative,
            **{f"control_{index}": column for index, column in enumerate(controls.T)},
            **{f"loss_feature_{index}": column for index, column in enumerate(run.T[:-1])},
            "distance": run.T[-1],
        }

    def plot(self, path: str | PathLike | None = None) -> Any:
        """A matplotlib figure: step sizes, absolute and relative, the LSTM's factors, and the loss features.

        With `path` it is written there too; the suffix chooses the format.
        """
        figure = require("matplotlib.figure", "fit", "a picture of the diagnostics").Figure(
            figsize=(11, 6.5), layout="constrained"
        )
        colors = require("matplotlib", "fit", "a picture of the diagnostics").colormaps["viridis"]
        ((absolute, relative), (factors, loss)) = figure.subplots(2, 2)
        steps = [int(o.step) for o in self.observations]
        table = {
            name: column.reshape(len(steps), len(self.names))
            for name, column in self.table().items()
            if column.dtype.kind == "f"
        }
        for index, name in enumerate(self.names):
            color = colors(index / max(1, len(self.names) - 1) * 0.9)
            absolute.plot(steps, table["step_rms"][:, index], color=color, label=name)
            relative.plot(steps, table["relative_step"][:, index], color=color)
            factors.plot(steps, np.exp(table["log_step"][:, index]), color=color)
        absolute.set(title="step size of each tensor (RMS)", yscale="log")
        relative.set(title="step size over size of the parameters", yscale="log")
        factors.set(title="the LSTM's factor on the step")
        if len(self.names) <= MAX_LEGEND:
            absolute.legend(fontsize="x-small")
        rows = [table[name][:, 0] for name in table if name.startswith("loss_feature_")]
        loss.set(title="loss features, long timescales above")
        if rows and steps:
            extent = (steps[0], steps[-1] + 1, 0, len(rows))
            image = loss.imshow(
                np.array(rows), aspect="auto", cmap="RdBu", vmin=-1, vmax=1, origin="lower", extent=extent
            )
            figure.colorbar(image, ax=loss)
        for axis in (absolute, relative, factors, loss):
            axis.set_xlabel("step")
        if path is not None:
            figure.savefig(path, dpi=120)
        return figure

    def _repr_png_(self) -> bytes | None:
        """The picture, for notebooks."""
        return png(self.plot)


def _rms(tree: Any) -> Float[jax.Array, " tensors"]:
    """Root mean square of each leaf; 0 for an empty one."""
    leaves = [jnp.asarray(leaf, jnp.float32) for leaf in jax.tree.leaves(tree)]
    return jnp.stack([jnp.sqrt(jnp.sum(jnp.square(x)) / max(1, x.size)) for x in leaves]) if leaves else jnp.zeros(0)
