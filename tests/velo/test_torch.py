"""`velo.torch.VeLO` equals `velo.optimizer` to the bit, and supports what PyTorch's users do with an optimizer."""

import copy
import io
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import velo
from tests.velo.loss_reader import READER, losses_of
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


def reader(params, num_steps=NUM_STEPS, **options):
    """One that compiles at once."""
    return velo.torch.VeLO(params, num_steps, READER, **options)


def arrays(tensors):
    return [tensor.detach().float().numpy().copy() for tensor in tensors]


def in_jax(tensors):
    """As Flax would have them: a linear layer's weight is (inputs, outputs)."""
    return [jnp.array(array.T) for array in arrays(tensors)]


def assert_equal(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


def moved(before, after):
    return [not np.array_equal(*pair) for pair in zip(before, after, strict=True)]


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
    params = in_jax(model.parameters())
    tx = velo.optimizer(NUM_STEPS, WEIGHTS)
    state = tx.init(params)

    @jax.jit
    def update(grads, state, params, value, scales):
        return velo.optimizer(NUM_STEPS, WEIGHTS, **scales).update(grads, state, params, value=value)

    for _ in range(NUM_STEPS):
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        grads = in_jax(tensor.grad for tensor in model.parameters())
        updates, state = update(grads, state, params, np.float32(loss.item()), scales)
        params = optax.apply_updates(params, updates)
        assert optimizer.step(loss) is loss
        assert_equal(in_jax(model.parameters()), params)


def test_learns():
    model = network()
    losses = train(model, velo.torch.VeLO(model.parameters(), 60, "untrained"), 60)
    assert losses[-1] < 0.1 * losses[0]


def test_vectors_are_not_copied():
    tensor = torch.zeros(40)
    assert velo.torch.optimizer._borrow(tensor, (0,)).unsafe_buffer_pointer() == tensor.data_ptr()
    array = jnp.arange(40.0)
    assert torch.from_dlpack(array).data_ptr() == array.unsafe_buffer_pointer()


def through_a_file(model, optimizer):
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = network()
    other.load_state_dict(saved["model"])
    optimizer = create(other)
    optimizer.load_state_dict(saved["optimizer"])
    return other, optimizer


def pickled(model, optimizer):
    return pickle.loads(pickle.dumps((model, optimizer)))


def copied(model, optimizer):
    return copy.deepcopy((model, optimizer))


@pytest.mark.parametrize("num_before", [0, 2])
@pytest.mark.parametrize("way", [through_a_file, pickled, copied])
def test_saved_or_copied_it_goes_on_to_the_bit(way, num_before, plain):
    model = network()
    optimizer = create(model)
    train(model, optimizer, num_before)
    other, other_optimizer = way(model, optimizer)
    train(model, optimizer, NUM_STEPS - num_before)
    train(other, other_optimizer, NUM_STEPS - num_before)
    assert_equal(arrays(model.parameters()), plain)
    assert_equal(arrays(other.parameters()), plain)
    with pytest.raises(ValueError, match="all num_steps=6 steps of this run are done"):
        train(other, other_optimizer, 1)


def test_a_state_saved_before_the_first_step_has_no_weights_of_the_network():
    """The distance from the start is measured from the parameters at the first step, not at `state_dict`."""
    model = network()
    optimizer = create(model)
    optimizer.load_state_dict(optimizer.state_dict())
    with torch.no_grad():
        model[0].weight.add_(1.0)
    train(model, optimizer, 1)
    start = optimizer._jax_state.learned.initial_size[0]
    np.testing.assert_allclose(start, model[0].weight.detach().square().mean().sqrt(), rtol=1e-6)


def test_a_state_of_something_else_is_refused():
    model = network()
    optimizer = create(model)
    train(model, optimizer, 1)
    saved = optimizer.state_dict()
    with pytest.raises(ValueError, match=r"not of velo\.torch\.VeLO"):
        create(model).load_state_dict(torch.optim.Adam(model.parameters()).state_dict())
    with pytest.raises(ValueError, match="num_steps=6, and the optimizer was made for 7"):
        velo.torch.VeLO(model.parameters(), 7, WEIGHTS).load_state_dict(saved)
    with pytest.raises(ValueError, match="other shapes"):
        create(torch.nn.Linear(2, 2)).load_state_dict(saved)


def test_groups_have_their_own_lr_and_weight_decay():
    model = network()
    steps = []
    for groups in (
        [{"params": model.parameters()}],
        [
            {"params": model[0].weight, "lr": 0.5},
            {"params": model[0].bias, "lr": 0.0, "weight_decay": 0.5},
            {"params": model[2].parameters(), "weight_decay": 0.5},
        ],
    ):
        before = arrays(model.parameters())
        optimizer = reader(groups)
        train(model, optimizer, 1)
        after = arrays(model.parameters())
        for tensor, start in zip(model.parameters(), before, strict=True):
            tensor.data.copy_(torch.from_numpy(start))
        steps.append([new - old for new, old in zip(after, before, strict=True)])
    learned, scaled = steps
    decayed = [learned[index] - 0.5 * before[index] for index in (2, 3)]
    for got, want in zip(scaled, [0.5 * learned[0], 0 * learned[1], *decayed], strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-7)


def test_parameters_without_a_gradient_stay():
    model = torch.nn.ModuleDict({"used": torch.nn.Linear(3, 1), "unused": torch.nn.Linear(3, 1)})
    model["used"].bias.requires_grad_(False)
    optimizer = reader(model.parameters())
    before = arrays(model.parameters())
    loss = torch.nn.functional.mse_loss(model["used"](INPUTS), TARGETS)
    loss.backward()
    optimizer.step(loss)
    assert moved(before, arrays(model.parameters())) == [True, False, False, False]


def test_freezing_after_the_first_step_and_back():
    model = network()
    optimizer = reader(model.parameters())
    train(model, optimizer, 1)
    model[0].requires_grad_(False)  # with its gradient still there
    before = arrays(model.parameters())
    loss = loss_of(model)
    loss.backward()
    optimizer.step(loss)
    between = arrays(model.parameters())
    assert moved(before, between) == [False, False, True, True]
    model[0].requires_grad_(True)
    train(model, optimizer, 1)
    assert moved(between, arrays(model.parameters())) == [True] * 4


def test_parameters_that_the_state_has_no_place_for_are_told():
    """They are noticed although the number of trained parameters is the same as at the first step."""
    model = network()
    model[0].requires_grad_(False)
    optimizer = reader(model.parameters())
    train(model, optimizer, 1)
    model[0].requires_grad_(True)
    model[2].requires_grad_(False)
    with pytest.raises(ValueError, match=r"shape \(5, 3\) requires a gradient, and didn't at the first step"):
        train(model, optimizer, 1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_parameters(dtype):
    model = network().to(dtype)
    optimizer = create(model, lr=100.0)  # a usual first step is below the resolution of the weights
    before = arrays(model.parameters())
    for _ in range(2):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(INPUTS.to(dtype)), TARGETS.to(dtype))
        loss.backward()
        optimizer.step(loss)
    assert {tensor.dtype for tensor in model.parameters()} == {dtype}
    assert moved(before, arrays(model.parameters())) == [True] * 4


def test_mixed_precision_with_scaled_gradients():
    model, other = network(), network()
    optimizer, usual = reader(model.parameters()), reader(other.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    loss = loss_of(model)
    scaler.scale(loss).backward()
    scaler.step(optimizer, loss)
    train(other, usual, 1)
    assert losses_of(optimizer) == losses_of(usual)
    assert_equal(arrays(model.parameters()), arrays(other.parameters()))


def test_memory_formats():
    """A convolution in channels_last steps as one in the usual format."""
    results = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        model = torch.nn.Conv2d(2, 3, 3).to(memory_format=memory_format)
        optimizer = reader(model.parameters())
        loss = model(torch.arange(32.0).reshape(1, 2, 4, 4).sin()).square().mean()
        loss.backward()
        optimizer.step(loss)
        results.append(model.weight.detach().contiguous().numpy().copy())
    np.testing.assert_allclose(*results, rtol=1e-5)


def test_mistakes_are_told():
    model = network()
    optimizer = reader(model.parameters())
    with pytest.raises(ValueError, match=r"no parameter has a gradient: call loss\.backward"):
        optimizer.step(torch.tensor(1.0))
    train(model, optimizer)
    with pytest.raises(ValueError, match="all num_steps=6 steps of this run are done"):
        train(model, optimizer, 1)
    with pytest.raises(ValueError, match="can't be added after the first step"):
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(2))]})
    with pytest.raises(ValueError, match=r"dtype torch\.float64"):
        reader(network().double().parameters())
    with pytest.raises(ValueError, match=r"lr has to be finite and at least 0, got -1\.0"):
        reader(model.parameters(), lr=-1.0)
    with pytest.raises(ValueError, match="num_steps has to be at least 1, got 0"):
        reader(model.parameters(), 0)
    with pytest.raises(ValueError, match="process_group has to be a group of torch"):
        reader(model.parameters(), process_group=True)
    embedding = torch.nn.Embedding(4, 2, sparse=True)
    loss = embedding(torch.tensor([1])).sum()
    loss.backward()
    with pytest.raises(ValueError, match="sparse gradients"):
        reader(embedding.parameters()).step(loss)
    flat = torch.nn.Parameter(torch.zeros(4))
    flat._is_flat_param = True  # as FullyShardedDataParallel marks its own
    with pytest.raises(ValueError, match=r"shape \(4,\) is sharded over processes"):
        reader([flat])


def test_a_loss_that_stays_nan_ends_the_run():
    model = network()
    optimizer = reader(model.parameters(), 20)
    loss_of(model).backward()
    for _ in range(9):
        optimizer.step(torch.tensor(float("nan")))
    with pytest.raises(FloatingPointError, match="nan for 10 steps in a row"):
        optimizer.step(float("nan"))
