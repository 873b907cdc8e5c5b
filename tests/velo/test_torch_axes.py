"""A PyTorch network takes the steps that the same network takes in the layouts of Flax, whatever the architecture."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import velo
from tests.velo.loss_reader import READER
from tests.velo.registry import ARCHITECTURES, theta_of

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'velo[torch]'")

NUM_STEPS = 3
FLAX = {
    "table.weight": (0, 1),  # (number, size) in both
    "up.weight": (2, 3, 0, 1),  # (inputs, outputs, *window)
    "convolution.weight": (2, 3, 1, 0),  # (outputs, inputs, *window)
    "sequence.weight": (2, 1, 0),
    "square.weight": (1, 0),  # (outputs, inputs)
    "linear.weight": (1, 0),
    "linear.bias": (0,),
}
"""Axes of each parameter in the order of Flax."""


def network():
    return torch.nn.ModuleDict(
        {
            "table": torch.nn.Embedding(6, 4),
            "up": torch.nn.ConvTranspose2d(4, 3, 2, bias=False),
            "convolution": torch.nn.Conv2d(4, 4, 3, bias=False),
            "sequence": torch.nn.Conv1d(3, 4, 2, bias=False),
            "square": torch.nn.Linear(4, 4, bias=False),
            "linear": torch.nn.Linear(3, 5),
        }
    )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_steps_are_those_in_the_layouts_of_flax(name):
    weights = (ARCHITECTURES[name], theta_of(ARCHITECTURES[name]))
    torch.manual_seed(0)
    model = network()
    names = [name for name, _ in model.named_parameters()]
    optimizer = velo.torch.VeLO(model.parameters(), NUM_STEPS, weights, model=model)
    params = [jnp.array(p.detach().permute(FLAX[name]).numpy()) for name, p in model.named_parameters()]
    tx = velo.optimizer(NUM_STEPS, weights)
    state = jax.jit(tx.init)(params)
    update = jax.jit(tx.update)
    for number in range(NUM_STEPS):
        grads = []
        for name, parameter in model.named_parameters():
            parameter.grad = torch.randn_like(parameter)
            grads.append(jnp.array(parameter.grad.permute(FLAX[name]).numpy()))
        updates, state = update(grads, state, params, value=np.float32(NUM_STEPS - number))
        params = [leaf + step for leaf, step in zip(params, updates, strict=True)]
        optimizer.step(float(NUM_STEPS - number))
    for name, got, want in zip(names, model.parameters(), params, strict=True):
        np.testing.assert_allclose(got.detach().permute(FLAX[name]).numpy(), want, rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_state_with_other_axes_is_refused():
    """A table's state has the same shapes either way, its entries another order."""
    model = torch.nn.ModuleDict({"table": torch.nn.Embedding(6, 4)})
    optimizers = [velo.torch.VeLO(model.parameters(), NUM_STEPS, READER, model=own) for own in (model, None)]
    for optimizer in optimizers:
        model["table"].weight.grad = torch.ones(6, 4)
        optimizer.step(1.0)
    with pytest.raises(ValueError, match="was made with model= and this optimizer without"):
        optimizers[0].load_state_dict(optimizers[1].state_dict())


def test_the_linear_layers_of_gpt2():
    """The `Conv1D` of transformers is (inputs, outputs), as Flax's."""
    transformers = pytest.importorskip("transformers")
    layer = transformers.pytorch_utils.Conv1D(5, 3)
    assert layer.weight.shape == (3, 5)
    assert velo.torch.axes.axes_of(layer.weight, velo.torch.axes.unusual_axes(layer)) == (0, 1)
    assert velo.torch.axes.axes_of(layer.weight, {}) == (1, 0)
