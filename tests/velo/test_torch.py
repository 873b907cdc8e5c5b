"""`velo.torch.VeLO` against `velo.optimizer` to the bit, and as PyTorch's users handle an optimizer."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import velo
from tests.velo.registry import ARCHITECTURES, theta_of

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'velo[torch]'")

WEIGHTS = (ARCHITECTURES["VeLO"], theta_of(ARCHITECTURES["VeLO"]))
INPUTS = torch.linspace(-1, 1, 24).reshape(8, 3)
TARGETS = INPUTS.sum(1, keepdim=True).sin()
NUM_STEPS = 6


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))


def loss_of(model):
    return torch.nn.functional.mse_loss(model(INPUTS), TARGETS)


def train(model, optimizer, num_steps=NUM_STEPS):
    losses = []
    for _ in range(num_steps):
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        optimizer.step(loss)
        losses.append(loss.item())
    return losses


def create(model, **options):
    return velo.torch.VeLO(model.parameters(), NUM_STEPS, WEIGHTS, **options)


def arrays(tensors):
    return [tensor.detach().numpy().copy() for tensor in tensors]


def assert_equal(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


@pytest.fixture(scope="module")
def plain():
    """Parameters after all steps."""
    model = network()
    train(model, create(model))
    return arrays(model.parameters())


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.01, "lr": 0.5}])
def test_is_the_jax_path_to_the_bit(options):
    model = network()
    optimizer = create(model, **options)
    scales = {"weight_decay": jnp.float32(0.01), "step_scale": jnp.float32(0.5)} if options else {}
    params = [jnp.array(array) for array in arrays(model.parameters())]
    tx = velo.optimizer(NUM_STEPS, WEIGHTS)
    state = tx.init(params)

    @jax.jit
    def update(grads, state, params, value, scales):
        return velo.optimizer(NUM_STEPS, WEIGHTS, **scales).update(grads, state, params, value=value)

    for _ in range(NUM_STEPS):
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        grads = [jnp.array(array) for array in arrays(tensor.grad for tensor in model.parameters())]
        updates, state = update(grads, state, params, np.float32(loss.item()), scales)
        params = optax.apply_updates(params, updates)
        assert optimizer.step(loss) is loss
        assert_equal(arrays(model.parameters()), params)


def test_learns():
    model = network()
    losses = train(model, velo.torch.VeLO(model.parameters(), 60, "untrained"), 60)
    assert losses[-1] < 0.1 * losses[0]


def test_nothing_is_copied():
    tensor = torch.zeros(40)
    assert velo.torch._borrow(tensor).unsafe_buffer_pointer() == tensor.data_ptr()
    array = jnp.arange(40.0)
    assert torch.from_dlpack(array).data_ptr() == array.unsafe_buffer_pointer()


def test_saved_and_loaded_it_goes_on_to_the_bit(plain):
    model = network()
    optimizer = create(model)
    train(model, optimizer, 2)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    train(model, optimizer, 4)
    assert_equal(arrays(model.parameters()), plain)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = network()
    other.load_state_dict(saved["model"])
    optimizer = create(other)
    optimizer.load_state_dict(saved["optimizer"])
    train(other, optimizer, 4)
    assert_equal(arrays(other.parameters()), plain)


def test_a_state_of_something_else_is_refused():
    model = network()
    saved = create(model).state_dict()
    with pytest.raises(ValueError, match=r"not of velo\.torch\.VeLO"):
        create(model).load_state_dict(torch.optim.Adam(model.parameters()).state_dict())
    with pytest.raises(ValueError, match="num_steps=6, and the optimizer was made for 7"):
        velo.torch.VeLO(model.parameters(), 7, WEIGHTS).load_state_dict(saved)
    with pytest.raises(ValueError, match="other shapes"):
        create(torch.nn.Linear(2, 2)).load_state_dict(saved)


def test_closure(plain):
    model = network()
    optimizer = create(model)

    def closure():
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        return loss

    for _ in range(NUM_STEPS):
        optimizer.step(closure)
    assert_equal(arrays(model.parameters()), plain)


def test_groups_have_their_own_lr_and_weight_decay(plain):
    model = network()
    first, second = model[0].parameters(), model[2].parameters()
    groups = [{"params": first}, {"params": second, "lr": 0.0, "weight_decay": 0.5}]
    before = arrays(model.parameters())
    optimizer = velo.torch.VeLO(groups, NUM_STEPS, WEIGHTS)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 if step == 0 else 0.0)
    train(model, optimizer, 1)
    scheduler.step()
    once = arrays(model.parameters())
    assert_equal(once[2:], before[2:])
    assert not np.array_equal(once[0], before[0])
    train(model, optimizer, 1)
    assert_equal(arrays(model.parameters()), once)


def test_frozen_and_unused_parameters_stay():
    model = torch.nn.ModuleDict({"used": torch.nn.Linear(3, 1), "unused": torch.nn.Linear(3, 1)})
    model["used"].bias.requires_grad_(False)
    optimizer = create(model)
    before = arrays(model.parameters())
    loss = torch.nn.functional.mse_loss(model["used"](INPUTS), TARGETS)
    loss.backward()
    optimizer.step(loss)
    after = arrays(model.parameters())
    assert [np.array_equal(*pair) for pair in zip(before, after, strict=True)] == [False, True, True, True]
    model["used"].bias.requires_grad_(True)
    with pytest.raises(ValueError, match="4 parameters require gradients, and 3 did at the first step"):
        optimizer.step(loss)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_parameters(dtype):
    model = network().to(dtype)
    optimizer = create(model, lr=100.0)  # a usual first step is below the resolution of the weights
    loss = torch.nn.functional.mse_loss(model(INPUTS.to(dtype)), TARGETS.to(dtype))
    loss.backward()
    before = arrays(tensor.float() for tensor in model.parameters())
    optimizer.step(loss)
    assert {tensor.dtype for tensor in model.parameters()} == {dtype}
    after = arrays(tensor.float() for tensor in model.parameters())
    assert all(not np.array_equal(*pair) for pair in zip(before, after, strict=True))


def test_memory_formats():
    """A convolution in channels_last steps as one in the usual format."""
    results = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        model = torch.nn.Conv2d(2, 3, 3).to(memory_format=memory_format)
        optimizer = create(model)
        loss = model(torch.ones(1, 2, 4, 4)).square().mean()
        loss.backward()
        optimizer.step(loss)
        results.append(model.weight.detach().contiguous().numpy().copy())
    np.testing.assert_allclose(*results, rtol=1e-5)


def test_mistakes_are_told():
    model = network()
    optimizer = create(model)
    with pytest.raises(ValueError, match=r"call optimizer.step\(loss\)"):
        optimizer.step()
    with pytest.raises(ValueError, match=r"scalar, got shape \(8, 1\): take its mean"):
        optimizer.step(model(INPUTS))
    with pytest.raises(ValueError, match=r"no parameter has a gradient: call loss\.backward"):
        optimizer.step(torch.tensor(1.0))
    train(model, optimizer)
    with pytest.raises(ValueError, match="all num_steps=6 steps of this run are done"):
        train(model, optimizer, 1)
    with pytest.raises(ValueError, match="can't be added after the first step"):
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(2))]})
    with pytest.raises(ValueError, match=r"dtype torch\.float64"):
        create(network().double())
    with pytest.raises(ValueError, match=r"lr has to be finite and at least 0, got -1\.0"):
        create(model, lr=-1.0)
    with pytest.raises(ValueError, match="num_steps has to be at least 1, got 0"):
        velo.torch.VeLO(model.parameters(), 0, WEIGHTS)
    embedding = torch.nn.Embedding(4, 2, sparse=True)
    loss = embedding(torch.tensor([1])).sum()
    loss.backward()
    with pytest.raises(ValueError, match="sparse gradients"):
        create(embedding).step(loss)


def test_a_loss_that_stays_nan_ends_the_run():
    model = network()
    optimizer = velo.torch.VeLO(model.parameters(), 20, WEIGHTS)
    loss_of(model).backward()
    for _ in range(9):
        optimizer.step(torch.tensor(float("nan")))
    with pytest.raises(FloatingPointError, match="nan for 10 steps in a row"):
        optimizer.step(float("nan"))
