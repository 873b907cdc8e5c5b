"""The loss reaches `velo.torch.VeLO` in every way that a PyTorch program calls `step`."""

import pytest

from tests.velo.loss_reader import losses_of

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'velo[torch]'")

from tests.velo.test_torch import INPUTS, TARGETS, arrays, assert_equal, loss_of, network, reader, train  # noqa: E402

NUM_STEPS = 3


@pytest.fixture(scope="module")
def usual():
    """Parameters and losses of `step(loss)`."""
    model = network()
    optimizer = reader(model.parameters())
    train(model, optimizer, NUM_STEPS)
    return arrays(model.parameters()), losses_of(optimizer)


def by_closure(optimizer, closure):
    optimizer.step(closure)


def by_closure_keyword(optimizer, closure):
    optimizer.step(closure=closure)


def by_loss_keyword(optimizer, closure):
    optimizer.step(loss=closure())


def by_number(optimizer, closure):
    optimizer.step(closure().item())


def by_added_loss(optimizer, closure):
    optimizer.add_loss(closure())
    assert optimizer.step() is None


def by_closure_that_adds(optimizer, closure):
    """As in Lightning, whose hook sees the loss and whose closure returns it."""

    def adding():
        loss = closure()
        optimizer.add_loss(loss)
        return loss

    optimizer.step(closure=adding)


@pytest.mark.parametrize(
    "step", [by_closure, by_closure_keyword, by_loss_keyword, by_number, by_added_loss, by_closure_that_adds]
)
def test_ways_to_pass_the_loss(step, usual):
    model = network()
    optimizer = reader(model.parameters())

    def closure():
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        return loss

    for _ in range(NUM_STEPS):
        step(optimizer, closure)
    assert_equal((arrays(model.parameters()), losses_of(optimizer)), usual)


@pytest.mark.parametrize("num_parts", [1, 4])
def test_losses_of_accumulated_parts_add_up(num_parts):
    """Each divided by their number, as their gradients have to be."""
    model, whole = network(), network()
    optimizer, usual = reader(model.parameters()), reader(whole.parameters())
    for _ in range(NUM_STEPS):
        optimizer.zero_grad()
        for inputs, targets in zip(INPUTS.chunk(num_parts), TARGETS.chunk(num_parts), strict=True):
            loss = torch.nn.functional.mse_loss(model(inputs), targets) / num_parts
            loss.backward()
            optimizer.add_loss(loss)
        optimizer.step()
    train(whole, usual, NUM_STEPS)
    assert losses_of(optimizer) == pytest.approx(losses_of(usual), rel=1e-5)


def test_zero_grad_forgets_added_losses():
    model = network()
    optimizer = reader(model.parameters())
    loss = loss_of(model)
    optimizer.add_loss(loss)
    optimizer.zero_grad()
    loss.backward()
    with pytest.raises(ValueError, match="reads the loss too"):
        optimizer.step()


def test_mistakes_are_told():
    model = network()
    optimizer = reader(model.parameters())
    for missing in (None, lambda: None):
        with pytest.raises(ValueError, match=r"call optimizer.step\(loss\).* or optimizer.add_loss\(loss\)"):
            optimizer.step(missing)
    with pytest.raises(ValueError, match=r"scalar, got shape \(8, 1\): take its mean"):
        optimizer.step(model(INPUTS))
    with pytest.raises(ValueError, match=r"scalar, got shape \(8, 1\): take its mean"):
        optimizer.add_loss(model(INPUTS))
    with pytest.raises(ValueError, match="scalar tensor or a number, got dict"):
        optimizer.step({"loss": 1.0})
    with pytest.raises(ValueError, match="got a closure and a loss"):
        optimizer.step(lambda: 1.0, loss=1.0)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # of torch.compile itself
def test_a_compiled_step(usual):
    """The optimizer's step breaks the graph, and is refused in a line where no break is allowed."""
    model = network()
    optimizer = reader(model.parameters())

    def step():
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        optimizer.step(loss)
        return loss.detach()

    compiled = torch.compile(step, backend="eager")
    for _ in range(NUM_STEPS):
        compiled()
    assert_equal((arrays(model.parameters()), losses_of(optimizer)), usual)
    with pytest.raises(torch._dynamo.exc.Unsupported, match=r"VeLO\.step .* was wrapped with `torch\.compiler\.disable`"):
        torch.compile(lambda: optimizer.step(torch.ones(())), backend="eager", fullgraph=True)()
