"""The optimizer with PyTorch's interface: parameter groups, closures, state dicts, copies, replicas."""

import math
from typing import Any, SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np

from velo import transformation
from velo.arguments import check_count
from velo.extras import require
from velo.torch import axes, losses
from velo.torch.step_scales import StepScaleWarnings

torch: Any = require("torch", "torch", "velo.torch")

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
FORMAT_VERSION = 2
NO_LOSS = (
    "a learned optimizer reads the loss too: call optimizer.step(loss), step(closure) with a closure that returns it, "
    "or optimizer.add_loss(loss) after each loss.backward() where a framework calls step()"
)


class VeLO(torch.optim.Optimizer):
    """A learned optimizer over all parameters; `step(loss)` after `loss.backward()`.

    All parameter groups form one network, whose tensors the optimizer reads together. A group may have its own `lr` and
    `weight_decay`, which mean what `step_scale` and `weight_decay` mean in `velo.optimizer`. `lr` is not a learning
    rate to tune but a factor on the learned steps, which were meta-trained with 1; a scheduler may change it. An `lr`
    below 0.1, and one that falls, causes a warning.

    The network consists of the tensors that require a gradient at the first step. They may be frozen and unfrozen
    later; others can't be added. If `torch.distributed` is initialised, the loss is averaged over ranks, so that
    replicas stay equal to the bit.

    On a CPU, memory is shared through DLPack. Vectors are not copied. Matrices and convolution kernels are copied into
    the axis order of JAX's libraries, a linear layer's weight as (inputs, outputs).

    Args:
        params: as for any PyTorch optimizer; parameters that don't require gradients are left alone.
        num_steps: length of the run in calls of `step`, at least 1.
        weights: as in `velo.optimizer`.
        lr: factor on every step.
        weight_decay: fraction of each parameter that one step removes, times `lr`.
        horizon: as in `velo.optimizer`.
        initial_distance: as in `velo.optimizer`.
        max_distance: as in `velo.optimizer`.
        model: the module of these parameters, by which embedding tables, transposed convolutions and the `Conv1D` of
            `transformers` are recognised. Without it, all weights are taken for linear layers and convolutions.
        process_group: group whose ranks hold replicas of this network. None is PyTorch's default group if there is
            one; False averages nothing, for processes that train separate networks.

    Raises:
        ValueError: an argument is out of range, or a parameter is not of float32, bfloat16 or float16, or sharded.
    """

    def __init__(
        self,
        params: Any,
        num_steps: SupportsIndex,
        weights: transformation.Weights = "default",
        *,
        lr: float = 1.0,
        weight_decay: float = 0.0,
        horizon: SupportsIndex | None = None,
        initial_distance: float | None = None,
        max_distance: float | None = None,
        model: Any = None,
        process_group: Any = None,
    ):
        if process_group is True:
            raise ValueError("process_group has to be a group of torch.distributed, None or False, got True")
        options = {"horizon": horizon, "initial_distance": initial_distance, "max_distance": max_distance}
        self._build(check_count("num_steps", num_steps), transformation.resolve_weights(weights), options)
        self._process_group = process_group
        self._unusual_axes = {} if model is None else axes.unusual_axes(model)
        # `momentum` is what OneCycleLR and CyclicLR ask for by default. It is never read: momenta are learned.
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": 0.9})

    def _build(self, num_steps: int, weights: Any, options: dict[str, Any]) -> None:
        """Sets the attributes that a copy builds anew, as they are before the first step."""
        self.num_steps = num_steps
        self._weights, self._options = weights, options
        self._tx = transformation.optimizer(num_steps, weights, **options)
        self._program = jax.jit(self._update, donate_argnums=1, static_argnums=4)
        self._jax_state: Any = None
        self._tensors: list[Any] = []  # the network, in order; fixed at the first step
        self._added_losses: list[Any] = []
        self._num_done = 0
        self._nonfinite = losses.NonFiniteLosses()
        self._scale_warnings = StepScaleWarnings()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group; possible only before the first step, since one state serves all parameters.

        Raises:
            ValueError: a step has been done, `lr` or `weight_decay` is out of range, or a parameter can't be optimized.
        """
        if self._jax_state is not None:
            raise ValueError("parameters can't be added after the first step: create the optimizer with all of them")
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for name in ("lr", "weight_decay"):
            if not 0 <= float(group[name]) < math.inf:
                raise ValueError(f"{name} has to be finite and at least 0, got {group[name]!r}")
        for parameter in group["params"]:
            _check_parameter(parameter)

    def add_loss(self, loss: Any) -> None:
        """Records a loss for the next step, which then needs no argument; several losses add up, as their gradients do.

        Pass the tensor that `backward` was called on: parts that are divided by the number of accumulation steps add up
        to the mean. This is for frameworks that call `step` themselves. Added losses take precedence over the one
        passed to `step`, and `zero_grad` discards them together with the gradients.

        Raises:
            ValueError: the loss is not a scalar.
        """
        self._added_losses.append(losses.scalar(loss, self.param_groups[0]["params"][0].device))

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clears the gradients and the losses that were added."""
        super().zero_grad(set_to_none)
        self._added_losses.clear()

    @torch.compiler.disable
    @torch.no_grad()
    def step(self, closure: Any = None, *, loss: Any = None) -> Any:
        """One update from the gradients in the parameters; returns the loss that it got.

        A parameter without a gradient counts as one with a gradient of zeros, and stays where it is; so does a frozen
        one. Within `torch.compile` the step stays outside of the compiled graph.

        Args:
            closure: the scalar loss that the gradients belong to, or a function that computes them and returns it.
                None if there was an `add_loss`.
            loss: the scalar loss, as a keyword argument.

        Raises:
            ValueError: the loss is missing, given twice or not a scalar, no parameter has a gradient, a parameter
                requires one that didn't at the first step, or all `num_steps` are done.
            FloatingPointError: the loss was NaN or infinite ten times in a row.
        """
        if closure is not None and loss is not None:
            raise ValueError("step got a closure and a loss: pass one of them")
        if callable(closure) and not isinstance(closure, torch.Tensor):
            with torch.enable_grad():
                loss = closure()
        elif loss is None:
            loss = closure
        value = self._read_loss(loss)
        if self._num_done >= self.num_steps:
            raise ValueError(
                f"all num_steps={self.num_steps} steps of this run are done and its schedule has ended: for a longer "
                "run, create the optimizer with as many steps as it shall have"
            )
        self._start()
        self._scale_warnings.look(self.param_groups)
        moves = [tensor.requires_grad and tensor.grad is not None for tensor in self._tensors]
        if not any(moves):
            raise ValueError("no parameter has a gradient: call loss.backward() before optimizer.step(loss)")
        orders = self._axes()
        params = [_borrow(tensor, order) for tensor, order in zip(self._tensors, orders, strict=True)]
        grads = [
            _borrow(tensor.grad.to(tensor.dtype) if moved else torch.zeros_like(tensor), order)
            for tensor, order, moved in zip(self._tensors, orders, moves, strict=True)
        ]
        groups = {tensor: group for group in self.param_groups for tensor in group["params"]}
        scales = [(float(groups[tensor]["lr"]), float(groups[tensor]["weight_decay"])) for tensor in self._tensors]
        plain = all(scale == (1.0, 0.0) for scale in scales)
        updates, self._jax_state = self._program(
            grads, self._jax_state, params, value, plain, None if plain else scales
        )
        jax.block_until_ready(updates)  # JAX reads the parameters until then
        for tensor, update, order, moved in zip(self._tensors, updates, orders, moves, strict=True):
            if moved:
                tensor.add_(axes.from_jax(torch.from_dlpack(update).view(update.shape), order))
        self._num_done += 1
        self._added_losses.clear()
        return loss

    def _update(self, grads, state, params, value, plain, scales):
        updates: Any
        updates, state = self._tx.update(grads, state, params, value=value)
        if not plain:
            updates = [
                transformation.scale_step(update, leaf, scale, weight_decay)
                for update, leaf, (scale, weight_decay) in zip(updates, params, scales, strict=True)
            ]
        return updates, state

    def _read_loss(self, loss: Any) -> np.float32:
        if self._added_losses:
            total = torch.stack(self._added_losses).sum()
        elif loss is None:
            raise ValueError(NO_LOSS)
        else:
            total = losses.scalar(loss, self.param_groups[0]["params"][0].device)
        value = losses.mean_over_replicas(total, self._process_group).item()
        self._nonfinite.add(value)
        return np.float32(value)

    def _parameters(self) -> list[Any]:
        return [tensor for group in self.param_groups for tensor in group["params"]]

    def _axes(self) -> list[axes.Axes]:
        """The axes of the network's tensors."""
        return [axes.axes_of(tensor, self._unusual_axes) for tensor in self._tensors]

    def _init(self) -> Any:
        """The state before the first step."""
        return jax.jit(self._tx.init)([_borrow(*pair) for pair in zip(self._tensors, self._axes(), strict=True)])

    def _start(self) -> None:
        """Fixes the network at the first step; later checks that no other parameter requires a gradient."""
        trained = [tensor for tensor in self._parameters() if tensor.requires_grad]
        if self._jax_state is None:
            if not trained:
                raise ValueError("no parameter requires a gradient")
            self._tensors = trained
            self._jax_state = self._init()
            return
        known = set(self._tensors)
        for tensor in trained:
            if tensor not in known:
                raise ValueError(
                    f"a parameter of shape {tuple(tensor.shape)} requires a gradient, and didn't at the first step, "
                    "so that the state has no place for it: let all parameters that will be trained require gradients "
                    "at the first step and freeze them after it, or begin a new optimizer"
                )

    def state_dict(self) -> dict[str, Any]:
        """Only tensors and numbers, so that `torch.load` reads it with `weights_only=True`."""
        places = {tensor: place for place, tensor in enumerate(self._parameters())}
        own = {
            "format": FORMAT_VERSION,
            "num_steps": self.num_steps,
            "num_done": self._num_done,
            "network": [places[tensor] for tensor in self._tensors],
            "axes": [list(order) for order in self._axes()],
            "leaves": [torch.from_dlpack(leaf).clone() for leaf in jax.tree.leaves(self._jax_state)],
        }
        return {**super().state_dict(), "velo": own}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues from the `state_dict()` of an optimizer with the same model, `num_steps` and weights.

        Raises:
            ValueError: it is of another optimizer, length of run, or model.
        """
        own = state_dict.get("velo")
        if own is None or own["format"] != FORMAT_VERSION:
            raise ValueError("this state is not of velo.torch.VeLO, or of another version of it")
        if own["num_steps"] != self.num_steps:
            raise ValueError(
                f"this state is of a run of num_steps={own['num_steps']}, and the optimizer was made for "
                f"{self.num_steps}: the schedule is that of the former"
            )
        network, state = self._restore(own)
        super().load_state_dict({name: entry for name, entry in state_dict.items() if name != "velo"})
        self._tensors, self._jax_state, self._num_done = network, state, own["num_done"]

    def _restore(self, own: dict[str, Any]) -> tuple[list[Any], Any]:
        """The network and its state as `state_dict` saved them; None as the state before the first step."""
        if not own["network"]:
            return [], None
        parameters = self._parameters()
        network = [parameters[place] for place in own["network"] if place < len(parameters)]
        orders = [axes.axes_of(tensor, self._unusual_axes) for tensor in network]
        saved = [tuple(order) for order in own["axes"]]
        if saved != orders and [len(order) for order in saved] == [len(order) for order in orders]:
            raise ValueError("this state was made with model= and this optimizer without, or the other way round")
        arrays = [_borrow(*pair) for pair in zip(network, orders, strict=True)]
        leaves, structure = jax.tree.flatten(jax.eval_shape(self._tx.init, arrays))
        if [tuple(leaf.shape) for leaf in leaves] != [tuple(leaf.shape) for leaf in own["leaves"]]:
            raise ValueError("this state is of a model or of weights with other shapes")
        sharding = arrays[0].sharding
        restored = [
            jax.device_put(jnp.array(jax.dlpack.from_dlpack(leaf.detach().cpu().contiguous())), sharding)
            for leaf in own["leaves"]
        ]
        return network, structure.unflatten(restored)

    def __getstate__(self) -> dict[str, Any]:
        """For `copy.deepcopy` and pickling."""
        own = self.state_dict()["velo"]
        made = (self.num_steps, self._weights, self._options, self._process_group, self._unusual_axes)
        return {**super().__getstate__(), "velo": (made, own)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """For a copy; `load_state_dict` of the base class calls it too, with only the groups."""
        super().__setstate__({name: entry for name, entry in state.items() if name != "velo"})
        if "velo" in state:
            (num_steps, weights, options, self._process_group, self._unusual_axes), own = state["velo"]
            self._build(num_steps, weights, options)
            (self._tensors, self._jax_state), self._num_done = self._restore(own), own["num_done"]


def _check_parameter(parameter: Any) -> None:
    if parameter.dtype not in DTYPES:
        raise ValueError(
            f"a parameter of shape {tuple(parameter.shape)} has dtype {parameter.dtype}, and only float32, "
            "bfloat16 and float16 can be optimized: convert the model, as with model.float()"
        )
    is_shard = getattr(parameter, "_is_flat_param", False) or hasattr(parameter, "placements")
    if is_shard:
        raise ValueError(
            f"a parameter of shape {tuple(parameter.shape)} is sharded over processes (FSDP or a DTensor), and the "
            "optimizer has to see whole tensors: train replicas, as DistributedDataParallel does"
        )


def _borrow(tensor: Any, order: axes.Axes) -> jax.Array:
    """The tensor's memory as a JAX array with its axes in this order; a copy if it is not contiguous in that order."""
    if tensor.layout is not torch.strided:
        raise ValueError("sparse gradients can't be read: use dense ones, such as nn.Embedding(sparse=False)")
    try:
        return jax.dlpack.from_dlpack(axes.to_jax(tensor.detach(), order).contiguous())
    except Exception as error:  # backends raise several types for a device that they don't have
        if tensor.device.type == "cpu":
            raise
        raise ValueError(
            f"a parameter is on {tensor.device}, and JAX computes on {jax.default_backend()}: install JAX for that "
            "device too, or keep the model on the CPU"
        ) from error
