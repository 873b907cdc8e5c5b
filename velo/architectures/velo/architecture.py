"""VeLO, this project's architecture: an LSTM over tensors steers an MLP that corrects a hand-made optimizer.

Source: 2211.09760. The published architecture is `velo.HyperV2`. Deviations from it:
- The MLP corrects a hand-made direction, so that an untrained theta is already a good optimizer; the paper's MLP starts
  from nothing. The direction is Adam's in the eigenbases of the gradients' Kronecker factors (SOAP, 2409.11321)
  with Nesterov's momentum, under Prodigy's step size (2306.06101) with linear decay.
- The step scale is Prodigy's distance estimate. The paper uses the parameters' root mean square, whose growth compounds
  and diverges on long runs.
- The reference's unused mixing layer, discarded LSTM state and loss features frozen at ten steps are left out.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from velo.architectures import single_precision
from velo.architectures.pages import Layout
from velo.architectures.velo import (
    distance,
    eigenbasis,
    features,
    guard,
    hypernetwork,
    kernel,
    matrices,
    parameter_mlp,
    passes,
    shards,
    tensor_inputs,
    turns,
    unit,
)
from velo.architectures.velo.state import State, specs, start
from velo.learned_optimizer import LearnedOptimizer, Theta
from velo.shapes import Float, Int, PRNGKeyArray

OF_PARAMETERS = (1, 2)
"""Indices of the features in the original coordinates, weight and moved. The MLP doesn't read them if a tensor has a
basis, which saves rotating the parameters."""
MAX_LOG_STEP = 5.0
BASES = ("kronecker", "elementwise")
DECAYS = ("linear", "cosine")
ELEMENTWISE = passes.Decays(second_moment=0.999, gradient_sum=0.999**0.5)
KRONECKER = passes.Decays(second_moment=0.98, gradient_sum=0.98**0.5, nesterov=True)
"""Shorter averages than elementwise, since a refresh rotates the basis and can't rotate the second moment with it."""


class Statics(NamedTuple):
    """The static arguments of an update's program."""

    layout: Layout
    plan: matrices.Plan
    use_kernel: bool


class Gathered(NamedTuple):
    """The results of the first pass over an update's gradients."""

    tree: passes.Tree  # with the gradients in their bases
    averages: passes.Averages
    basis: Any  # eigenbasis.State if there is one
    moments: tensor_inputs.Moments
    absolute: Float[jax.Array, " tensors"]  # |s|_1 in the original coordinates
    turned_absolute: Float[jax.Array, " tensors"]  # in those of the basis
    inner_products: Float[jax.Array, " tensors"]  # <g, x_0 - x>, without the gradients' weight


@dataclasses.dataclass(frozen=True)
class VeLO(LearnedOptimizer):
    """The architecture; the fields are its sizes and choices."""

    lstm_size: int = 32
    """Hidden units of the per-tensor LSTM (the paper: 512)."""
    num_mixtures: int = 8
    """Networks in the bank that the LSTM mixes (the paper: 256)."""
    mlp_width: int = 4
    """Units of a hidden layer of the per-parameter MLP."""
    mlp_depth: int = 2
    """Hidden layers of the per-parameter MLP."""
    nominal: float = 1.0
    """Factor on the hand-made direction that the MLP corrects. With 0 the MLP's direction remains, and the LSTM's share
    of Adam's direction in the original coordinates (`hypernetwork.Controls.elementwise`)."""
    initial_distance: float = 3e-4
    """First estimate of the distance to the solution (Prodigy: 1e-6, which costs short runs a tenth of their steps)."""
    decay: str = "linear"
    """How the nominal step size decays over the run: `linear` or `cosine`."""
    final_rate: float = 0.0
    """Final value of the decay, as a fraction of its initial value."""
    basis: str = "kronecker"
    """Coordinates of the state, the features and the MLP: `kronecker`, the eigenbases of each matrix's Kronecker
    factors (`velo.architectures.velo.eigenbasis`), or `elementwise`, the parameters' own, for less memory and time."""
    max_side: int = 128
    """Longest side of a matrix that is rotated whole, not in blocks (`velo.architectures.velo.matrices`)."""
    refresh_every: int = 10
    """Steps between two refreshes of the bases."""

    def __post_init__(self):
        for name in ("lstm_size", "num_mixtures", "mlp_width", "mlp_depth", "max_side", "refresh_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"VeLO: {name} must be at least 1, got {getattr(self, name)}")
        if self.nominal < 0:
            raise ValueError(f"VeLO: nominal must be at least 0, got {self.nominal}")
        if not 0 < self.initial_distance < math.inf:
            raise ValueError(f"VeLO: initial_distance must be positive and finite, got {self.initial_distance}")
        if not 0 <= self.final_rate <= 1:
            raise ValueError(f"VeLO: final_rate must be in [0, 1], got {self.final_rate}")
        for name, known in (("decay", DECAYS), ("basis", BASES)):
            if getattr(self, name) not in known:
                raise ValueError(f"VeLO: {name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")

    @property
    def has_basis(self) -> bool:
        """Whether it works in the eigenbases."""
        return self.basis != "elementwise"

    @property
    def inputs(self) -> tuple[tuple[int, float, float], ...]:
        """The inputs of the hypernetwork, in the form of `tensor_inputs.INPUTS`."""
        return tensor_inputs.INPUTS + tensor_inputs.BASIS_INPUTS if self.has_basis else tensor_inputs.INPUTS

    @property
    def decays(self) -> passes.Decays:
        """Decays of the averages other than the momenta."""
        return KRONECKER if self.has_basis else ELEMENTWISE

    @single_precision.initialization
    def init(self, key: PRNGKeyArray) -> Theta:
        key_hypernetwork, key_bank = jax.random.split(key)
        return {
            "hypernetwork": hypernetwork.init_hypernetwork(
                key_hypernetwork,
                sum(count for count, _, _ in self.inputs),
                self.lstm_size,
                self.num_mixtures,
                has_basis=self.has_basis,
            ),
            "bank": parameter_mlp.init_bank(
                key_bank, self.num_mixtures, passes.NUM_PARAMETER_FEATURES, self.mlp_width, self.mlp_depth, 2
            ),
        }

    def bind(
        self,
        theta: Theta,
        num_steps: int | Int[jax.Array, ""],
        matrix_axes: Any = None,
        max_distance: float | Float[jax.Array, ""] | None = None,
        shardings: Any = None,
    ) -> optax.GradientTransformationExtraArgs:
        """As in the interface.

        Args:
            matrix_axes: which axes make a matrix, as in `matrices.flatten_axes`; None follows the rules of
                `velo.architectures.velo.matrices`.
            max_distance: upper limit of the distance estimate.
            shardings: of the parameters, as in `shards.divide`; None leaves the partitioning to the compiler.
        """
        use_kernel = kernel.in_use()

        def init(params):
            axes = matrices.flatten_axes(matrix_axes, params)

            def on_device(theta, params, layout=None):
                leaves = jax.tree.leaves(params)
                layout = layout or Layout(tuple(jnp.shape(leaf) for leaf in leaves))
                plan = self._plan(layout, axes)
                return start(theta, leaves, layout, plan, self.initial_distance, has_basis=self.has_basis)

            if shardings is None or not axes:
                return on_device(theta, params)
            division, of_params = shards.divide(shardings, params)
            of_state = specs(division, has_basis=self.has_basis)
            on_device = functools.partial(on_device, layout=division.layout)
            return division.run(on_device, (division.everywhere, of_params), of_state)(theta, params)

        def update(updates, state, params, loss):
            axes = matrices.flatten_axes(matrix_axes, params)

            def on_device(whole, updates, state, params, layout=None):
                theta, num_steps, max_distance, loss = whole
                return self.update_with_controls(
                    theta, num_steps, updates, state, params, loss, axes, max_distance, layout, use_kernel=use_kernel
                )[:2]

            whole = (theta, num_steps, max_distance, loss)
            if shardings is None:
                return on_device(whole, updates, state, params)
            division, of_params = shards.divide(shardings, params)
            of_state = specs(division, has_basis=self.has_basis)
            arguments = (division.everywhere, of_params, of_state, of_params)
            step = division.run(functools.partial(on_device, layout=division.layout), arguments, (of_params, of_state))
            return step(whole, updates, state, params)

        return single_precision.transformation(init, update)

    def update_with_controls(
        self,
        theta,
        num_steps,
        grads,
        state,
        params,
        loss,
        axes: Sequence[matrices.MatrixAxes | None] | None = None,
        max_distance=None,
        layout: Layout | None = None,
        *,
        use_kernel=False,
    ):
        """(updates, state, the hypernetwork's outputs); `velo.diagnostics` reads the last.

        Makes two passes over the parameters. The first computes the averages and their statistics, which the LSTM
        reads; the second computes the steps.

        Args:
            axes: the `matrices.MatrixAxes` or None of each tensor; None follows the rules for all.
            layout: of the parameters if they are parts of tensors.
        """
        leaves, treedef = jax.tree.flatten(params)
        layout = layout or Layout(tuple(jnp.shape(leaf) for leaf in leaves))
        num_steps = jnp.asarray(num_steps, jnp.float32)
        fraction = jnp.minimum(state.step / num_steps, 1.0)
        estimate = state.distance.estimate
        rate = self.nominal_rate(state.step, estimate, fraction)
        statics = Statics(layout, self._plan(layout, axes), use_kernel)
        tree = passes.Tree(_float32(treedef.flatten_up_to(grads)), _float32(leaves), state.initial_params)

        square = jnp.sum(layout.total(guard.squared_norms(tree.grads)))
        own_unit = unit.measure(state.unit, square / max(1, int(layout.whole_sizes.sum())))
        lift = jnp.where(own_unit > 0, own_unit, 1.0)
        factor, usual = guard.shorten(state.usual, lift**2 * square)
        factor = factor * lift
        weight = factor * estimate  # of the gradient in the averages and the features
        if self.has_basis:
            weight = jnp.where(state.step > 0, weight, 0.0)
        scalars = eigenbasis.Scalars(weight, rate, factor, turns.phase(state.step, self.refresh_every))
        gathered = self._gather(statics, state, tree, scalars)

        loss_history = features.update_loss_history(state.loss_history, loss, num_steps)
        new_distance = distance.update_distance(
            state.distance,
            rate,
            self.decays.gradient_sum,
            inner_products=factor * gathered.inner_products,
            sums=gathered.absolute,
            sizes=tensor_inputs.counts(layout),
            is_held=features.is_rising(loss_history),
        )
        if max_distance is not None:
            limit = jnp.asarray(max_distance, jnp.float32)
            new_distance = new_distance._replace(estimate=jnp.minimum(new_distance.estimate, limit))
        run = tensor_inputs.run_features(fraction, loss_history, num_steps)
        inputs = self._inputs(statics, state, gathered, new_distance, run)
        controls, lstm = hypernetwork.apply_hypernetwork(theta["hypernetwork"], state.lstm, inputs)

        epsilon = new_distance.estimate * passes.EPSILON
        steps, basis = self._steps(theta, statics, state.step, gathered, controls, scalars, epsilon)
        updates = [step.astype(leaf.dtype) for step, leaf in zip(steps, leaves, strict=True)]
        state = State(
            step=state.step + 1,
            unit=own_unit,
            averages=gathered.averages,
            initial_params=gathered.tree.initial,
            initial_size=state.initial_size,
            usual=usual,
            distance=new_distance,
            loss_history=loss_history,
            lstm=lstm,
            basis=basis,
        )
        return treedef.unflatten(updates), state, controls

    def _gather(self, statics: Statics, state: State, tree, scalars: eigenbasis.Scalars) -> Gathered:
        """The first pass: rotates the gradients into their bases, updates the averages, and computes the sums."""
        layout, plan, use_kernel = statics
        averages, basis, entered = state.averages, state.basis, None
        if plan.groups:
            decay = self.decays.gradient_sum
            entered = eigenbasis.enter(layout, plan, basis, averages, tree, scalars, decay, use_kernel=use_kernel)
            tree, averages, basis = entered.tree, entered.averages, entered.basis
        averages, sums = passes.accumulate(
            layout, self.decays, averages, tree, scalars.weight, scalars.rate, use_kernel=use_kernel
        )
        sums = layout.total(sums)
        turned_absolute, inner_products = sums[:, -2], sums[:, -1]
        absolute = turned_absolute
        if entered is not None:
            absolute = jnp.where(plan.turned, entered.absolute, absolute)
            inner_products = jnp.where(plan.turned, entered.inner_products, inner_products)
        moments = tensor_inputs.means(layout, sums[:, :-2])
        return Gathered(tree, averages, basis, moments, absolute, turned_absolute, inner_products)

    def _inputs(self, statics: Statics, state: State, gathered: Gathered, new_distance, run):
        """The inputs of the hypernetwork."""
        layout, plan, _ = statics
        statistics = tensor_inputs.tensor_statistics(
            gathered.moments, state.initial_size, state.distance.estimate, new_distance.per_tensor
        )
        if self.has_basis:
            of_basis = eigenbasis.statistics(plan, gathered.basis)
            ratio = features.log_ratio(gathered.absolute, gathered.turned_absolute)
            statistics = jnp.concatenate([statistics, of_basis, ratio[:, None]], axis=1)
        return tensor_inputs.hypernetwork_inputs(layout, run, statistics, self.inputs)

    def _steps(self, theta, statics: Statics, step, gathered: Gathered, controls, scalars, epsilon):
        """The second pass: (the step of each tensor, the basis)."""
        layout, plan, use_kernel = statics
        squares = gathered.moments.squares
        networks = parameter_mlp.mix_bank(theta["bank"], controls.mixture)
        is_read = ~(plan.turned[:, None] & np.isin(np.arange(passes.NUM_PARAMETER_FEATURES), OF_PARAMETERS)[None])
        networks = parameter_mlp.normalize_inputs(networks, squares, is_read)
        size = scalars.rate * jnp.exp(jnp.clip(controls.log_step, -MAX_LOG_STEP, MAX_LOG_STEP))
        share = jnp.where(plan.turned, jnp.clip(controls.elementwise, 0.0, 1.0), 0.0)
        correction = jnp.minimum(1.0, features.root(squares[:, tensor_inputs.NUM_UP_TO_MOMENTA]))
        scales = passes.Scales((1.0 - share) * size if plan.groups else size, correction, epsilon)
        steps = passes.steps(
            layout,
            self.decays,
            gathered.averages,
            gathered.tree,
            networks,
            scales,
            scalars.weight,
            self.nominal,
            use_kernel=use_kernel,
        )
        if not plan.groups:
            return steps, gathered.basis
        bias = adam_correction(step, eigenbasis.MOMENTUM_DECAY, eigenbasis.SECOND_MOMENT_DECAY)
        mixed_in = share * size * bias
        return eigenbasis.leave(layout, plan, gathered.basis, steps, mixed_in, epsilon, use_kernel=use_kernel)

    def nominal_rate(self, step, estimate, fraction) -> Float[jax.Array, ""]:
        """gamma_k d_k: the distance estimate times a decay over the run.

        The elementwise form has Adam's bias correction, as `optax.contrib.prodigy` has. The eigenbasis form has none,
        as in the code of Prodigy's authors. There the first gradient only sets the bases, as in SOAP, and the rate of
        its step is 0: that gradient is diagonal in its own bases, and Adam would turn the rounding errors in its other
        entries into steps of full size.
        """
        shape = 1.0 - fraction if self.decay == "linear" else 0.5 * (1.0 + jnp.cos(jnp.pi * fraction))
        decayed = self.final_rate + (1.0 - self.final_rate) * shape
        if self.has_basis:
            return jnp.where(step > 0, estimate * decayed, 0.0)
        return estimate * adam_correction(step, passes.MOMENTUM_DECAYS[0], ELEMENTWISE.second_moment) * decayed

    def _plan(self, layout, axes) -> matrices.Plan:
        if not self.has_basis:
            return matrices.Plan((None,) * len(layout.shapes))
        axes = axes or [None] * len(layout.shapes)
        return matrices.plan(layout.whole_shapes, self.max_side, axes, layout.shapes)


def adam_correction(step, momentum_decay: float, second_moment_decay: float) -> Float[jax.Array, ""]:
    """Adam's bias correction of momentum / sqrt(second moment) at a step counted from 0."""
    count = (step + 1).astype(jnp.float32)
    return jnp.sqrt(1.0 - second_moment_decay**count) / (1.0 - momentum_decay**count)


def _float32(leaves) -> list[jax.Array]:
    return [jnp.asarray(leaf, jnp.float32) for leaf in leaves]
