"""The axes of PyTorch's weights in the order of JAX's libraries, which architectures were meta-trained with."""

from collections.abc import Mapping
from typing import Any

from velo.extras import require

torch: Any = require("torch", "torch", "velo.torch")

Axes = tuple[int, ...]

TABLES = (torch.nn.Embedding, torch.nn.EmbeddingBag)
TRANSPOSED = (torch.nn.ConvTranspose1d, torch.nn.ConvTranspose2d, torch.nn.ConvTranspose3d)


def usual_axes(rank: int) -> Axes:
    """(outputs, inputs, *window) of a linear layer or convolution as (*window, inputs, outputs).

    An architecture may treat the rows of a matrix differently from its columns: as the left and the right side in the
    eigenbasis, or as Adafactor's two axes where these are of equal length. So it has to see the axes in Flax's order.
    """
    return (*range(2, rank), 1, 0) if rank >= 2 else tuple(range(rank))


def unusual_axes(model: Any) -> dict[Any, Axes]:
    """The axes of weights that are not (outputs, inputs, *window), by the parameter.

    Embedding tables are (number, size) in both libraries, transposed convolutions (inputs, outputs, *window), and
    the `Conv1D` of `transformers`, a linear layer, (inputs, outputs).
    """
    found: dict[Any, Axes] = {}
    for module in model.modules():
        if isinstance(module, TABLES) or _is_conv1d_of_transformers(module):
            found[module.weight] = (0, 1)
        elif isinstance(module, TRANSPOSED):
            found[module.weight] = (*range(2, module.weight.ndim), 0, 1)
    return found


def axes_of(tensor: Any, unusual: Mapping[Any, Axes]) -> Axes:
    """The tensor's axes in JAX's order: those in `unusual`, otherwise `usual_axes`."""
    return unusual.get(tensor, usual_axes(tensor.ndim))


def to_jax(tensor: Any, axes: Axes) -> Any:
    """The tensor with its axes in JAX's order, without a copy."""
    return tensor.permute(axes)


def from_jax(tensor: Any, axes: Axes) -> Any:
    """The inverse of `to_jax`."""
    return tensor.permute([axes.index(axis) for axis in range(len(axes))])


def _is_conv1d_of_transformers(module: Any) -> bool:
    kind = type(module)
    return kind.__name__ == "Conv1D" and kind.__module__.partition(".")[0] == "transformers"
