"""`velo.torch.VeLO`: a learned optimizer as a PyTorch one; the update is JAX's, on memory that both share."""

import math
from typing import Any, SupportsIndex

import jax
import numpy as np

from velo.extras import require
from velo.transformation import Weights, check_count, optimizer, scale_step

torch: Any = require("torch", "torch", "velo.torch")

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
FORMAT_VERSION = 1
MAX_NONFINITE = 10
"""Losses in a row that may be NaN or infinite."""


class VeLO(torch.optim.Optimizer):
    """A learned optimizer over all parameters; `step(loss)` after `loss.backward()`.

    On a CPU parameters and gradients are read in place over DLPack and updates come back the same way: nothing is
    copied. All parameter groups form one network, whose tensors the optimizer looks at together. A group may have its
    own `lr` and `weight_decay`, which mean what `step_scale` and `weight_decay` mean in `velo.optimizer`: there is no
    learning rate to tune, 1 is what was meta-trained, and a scheduler that works on `lr` scales the learned steps.

    Args:
        params: as for any PyTorch optimizer; parameters that don't require gradients are left alone.
        num_steps: length of the run in calls of `step`, at least 1.
        weights: as in `velo.optimizer`.
        lr: factor on every step.
        weight_decay: fraction of each parameter that one step takes away, times `lr`.
        horizon: as in `velo.optimizer`.

    Raises:
        ValueError: an argument is out of range, or a parameter is not of float32, bfloat16 or float16.
    """

    def __init__(
        self,
        params: Any,
        num_steps: SupportsIndex,
        weights: Weights = "default",
        *,
        lr: float = 1.0,
        weight_decay: float = 0.0,
        horizon: SupportsIndex | None = None,
    ):
        self.num_steps = check_count("num_steps", num_steps)
        self._tx = optimizer(self.num_steps, weights, horizon=horizon)
        self._program = jax.jit(self._update, donate_argnums=1, static_argnums=4)
        self._jax_state: Any = None
        self._tensors: list[Any] = []  # those that are trained, in order; fixed at the first step
        self._num_done = 0
        self._num_nonfinite = 0
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Only before the first step, since the state is one for all parameters."""
        if self._jax_state is not None:
            raise ValueError("parameters can't be added after the first step: create the optimizer with all of them")
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for name in ("lr", "weight_decay"):
            if not 0 <= float(group[name]) < math.inf:
                raise ValueError(f"{name} has to be finite and at least 0, got {group[name]!r}")
        for parameter in group["params"]:
            if parameter.dtype not in DTYPES:
                raise ValueError(
                    f"a parameter of shape {tuple(parameter.shape)} has dtype {parameter.dtype}, and only float32, "
                    "bfloat16 and float16 can be optimized: convert the model, as with model.float()"
                )

    @torch.no_grad()
    def step(self, loss: Any = None) -> Any:
        """One update from the gradients in the parameters; returns the loss.

        A parameter without a gradient counts as one with a gradient of zeros, and stays where it is.

        Args:
            loss: the scalar loss that the gradients belong to, or a closure that computes it and them.

        Raises:
            ValueError: the loss is missing or no scalar, no parameter has a gradient, or all `num_steps` are done.
            FloatingPointError: the loss was NaN or infinite ten times in a row.
        """
        if callable(loss) and not isinstance(loss, torch.Tensor):
            with torch.enable_grad():
                loss = loss()
        value = self._check_loss(loss)
        if self._num_done >= self.num_steps:
            raise ValueError(
                f"all num_steps={self.num_steps} steps of this run are done and its schedule has ended: for a longer "
                "run, create the optimizer with as many steps as it shall have"
            )
        self._start()
        trained = [tensor.grad is not None for tensor in self._tensors]
        if not any(trained):
            raise ValueError("no parameter has a gradient: call loss.backward() before optimizer.step(loss)")
        params = [_borrow(tensor) for tensor in self._tensors]
        grads = [
            _borrow(torch.zeros_like(tensor) if tensor.grad is None else tensor.grad.to(tensor.dtype))
            for tensor in self._tensors
        ]
        scales = [(float(group["lr"]), float(group["weight_decay"])) for group in self._groups()]
        plain = all(scale == (1.0, 0.0) for scale in scales)
        updates, self._jax_state = self._program(
            grads, self._jax_state, params, value, plain, None if plain else scales
        )
        jax.block_until_ready(updates)  # JAX reads the parameters until then
        for tensor, update, moves in zip(self._tensors, updates, trained, strict=True):
            if moves:
                tensor.add_(torch.from_dlpack(update).view(tensor.shape))
        self._num_done += 1
        return loss

    def _update(self, grads, state, params, value, plain, scales):
        updates: Any
        updates, state = self._tx.update(grads, state, params, value=value)
        if not plain:
            updates = [
                scale_step(update, leaf, scale, weight_decay)
                for update, leaf, (scale, weight_decay) in zip(updates, params, scales, strict=True)
            ]
        return updates, state

    def _groups(self) -> list[dict[str, Any]]:
        """The group of each trained tensor."""
        return [group for group in self.param_groups for tensor in group["params"] if tensor.requires_grad]

    def _start(self) -> None:
        tensors = [tensor for group in self.param_groups for tensor in group["params"] if tensor.requires_grad]
        if self._jax_state is None:
            if not tensors:
                raise ValueError("no parameter requires a gradient")
            self._tensors = tensors
            self._jax_state = jax.jit(self._tx.init)([_borrow(tensor) for tensor in tensors])
        elif len(tensors) != len(self._tensors):
            raise ValueError(
                f"{len(tensors)} parameters require gradients, and {len(self._tensors)} did at the first step: freeze "
                "parameters before it, or set a group's lr to 0"
            )

    def _check_loss(self, loss: Any) -> np.float32:
        if loss is None:
            raise ValueError("a learned optimizer reads the loss too: call optimizer.step(loss), or step(closure)")
        if isinstance(loss, torch.Tensor) and loss.numel() != 1:
            raise ValueError(f"the loss has to be a scalar, got shape {tuple(loss.shape)}: take its mean")
        value = np.float32(loss.item() if isinstance(loss, torch.Tensor) else loss)
        self._num_nonfinite = 0 if np.isfinite(value) else self._num_nonfinite + 1
        if self._num_nonfinite >= MAX_NONFINITE:
            raise FloatingPointError(
                f"the loss was {value} for {MAX_NONFINITE} steps in a row: look for bad values in the data, and "
                "for logarithms, divisions and roots; torch.autograd.set_detect_anomaly(True) finds the operation"
            )
        return value

    def state_dict(self) -> dict[str, Any]:
        """Tensors and numbers alone, so that `torch.load` reads it with `weights_only=True`."""
        self._start()
        leaves = [torch.from_dlpack(leaf).clone() for leaf in jax.tree.leaves(self._jax_state)]
        own = {"format": FORMAT_VERSION, "num_steps": self.num_steps, "num_done": self._num_done, "leaves": leaves}
        return {**super().state_dict(), "velo": own}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from `state_dict()` of the same model, `num_steps` and weights.

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
        self._start()
        leaves, structure = jax.tree.flatten(self._jax_state)
        shapes = [tuple(leaf.shape) for leaf in leaves]
        found = [tuple(leaf.shape) for leaf in own["leaves"]]
        if found != shapes:
            raise ValueError("this state is of a model or of weights with other shapes")
        super().load_state_dict({name: entry for name, entry in state_dict.items() if name != "velo"})
        restored = [
            jax.device_put(np.array(new.cpu().numpy()), leaf.sharding)
            for new, leaf in zip(own["leaves"], leaves, strict=True)
        ]
        self._jax_state = structure.unflatten(restored)
        self._num_done = own["num_done"]


def _borrow(tensor: Any) -> jax.Array:
    """The tensor's memory as a JAX array; a copy only where it is not contiguous."""
    if tensor.layout is not torch.strided:
        raise ValueError("sparse gradients can't be read: use dense ones, such as nn.Embedding(sparse=False)")
    try:
        return jax.dlpack.from_dlpack(tensor.detach().contiguous())
    except Exception as error:  # backends raise several types for a device that they don't have
        if tensor.device.type == "cpu":
            raise
        raise ValueError(
            f"a parameter is on {tensor.device}, and JAX computes on {jax.default_backend()}: install JAX for that "
            "device too, or keep the model on the CPU"
        ) from error
