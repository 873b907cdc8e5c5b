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
    "convolution.weight": (2, 3, 1, 0),  # (outputs, inputs, *window)
    "square.weight": (1, 0),  # (outputs, inputs)
    "square.bias": (0,),
}
"""Axes of each parameter in the order of Flax."""
QUICK = {"VeLO", "HyperV2"}


def network():
    return torch.nn.ModuleDict(
        {
            "table": torch.nn.Embedding(6, 4),
            "convolution": torch.nn.Conv2d(4, 4, 2, bias=False),
            "square": torch.nn.Linear(4, 4),
        }
    )


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in ARCHITECTURES]
)
def test_steps_are_those_in_the_layouts_of_flax(name):
    weights = (ARCHITECTURES[name], theta_of(ARCHITECTURES[name]))
    torch.manual_seed(0)
    model = network()
    named = dict(model.named_parameters())
    optimizer = velo.torch.VeLO(model.parameters(), NUM_STEPS, weights, model=model)
    params = {name: jnp.array(parameter.detach().permute(FLAX[name]).numpy()) for name, parameter in named.items()}
    tx = velo.optimizer(NUM_STEPS, weights)
    state = jax.jit(tx.init)([*params.values()])
    update = jax.jit(tx.update)
    for number in range(NUM_STEPS):
        for parameter in named.values():
            parameter.grad = torch.randn_like(parameter)
        grads = [jnp.array(parameter.grad.permute(FLAX[name]).numpy()) for name, parameter in named.items()]
        loss = float(NUM_STEPS - number)
        updates, state = update(grads, state, [*params.values()], value=np.float32(loss))
        params = {name: params[name] + step for name, step in zip(params, updates, strict=True)}
        optimizer.step(loss)
    for name, parameter in named.items():
        got = parameter.detach().permute(FLAX[name]).numpy()
        np.testing.assert_allclose(got, params[name], rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("create", "expected"),
    [
        (lambda: torch.nn.Linear(3, 5), (1, 0)),
        (lambda: torch.nn.Embedding(6, 4), (0, 1)),
        (lambda: torch.nn.Conv1d(3, 4, 2), (2, 1, 0)),
        (lambda: torch.nn.Conv3d(3, 4, 2), (2, 3, 4, 1, 0)),
        (lambda: torch.nn.ConvTranspose1d(3, 4, 2), (2, 0, 1)),
        (lambda: torch.nn.ConvTranspose2d(3, 4, 2), (2, 3, 0, 1)),
        (lambda: pytest.importorskip("transformers").pytorch_utils.Conv1D(5, 3), (0, 1)),  # GPT-2's linear layer
    ],
)
def test_axes_by_the_kind_of_module(create, expected):
    """Flax's order is (number, size) for a table, and (*window, inputs, outputs) otherwise."""
    module = create()
    assert velo.torch.axes.axes_of(module.weight, velo.torch.axes.unusual_axes(module)) == expected
    tensor = torch.zeros(2, 3, 4, 5, 6)[(0,) * (5 - len(expected))]
    assert velo.torch.axes.from_jax(velo.torch.axes.to_jax(tensor, expected), expected).shape == tensor.shape


def test_a_state_with_other_axes_is_refused():
    """A table's state has the same shapes either way, its entries another order."""
    model = torch.nn.ModuleDict({"table": torch.nn.Embedding(6, 4)})
    optimizers = [velo.torch.VeLO(model.parameters(), NUM_STEPS, READER, model=own) for own in (model, None)]
    for optimizer in optimizers:
        model["table"].weight.grad = torch.ones(6, 4)
        optimizer.step(1.0)
    with pytest.raises(ValueError, match="was made with model= and this optimizer without"):
        optimizers[0].load_state_dict(optimizers[1].state_dict())
