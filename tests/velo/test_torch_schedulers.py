"""Schedulers and hand-set learning rates scale the learned steps, with a warning if that is probably unintended."""

import warnings

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'velo[torch]'")

from tests.velo.test_torch import network, reader, train  # noqa: E402

lr_scheduler = torch.optim.lr_scheduler
LOOKS = "looks like a learning rate"
FELL = "lr fell from"


def told(model, optimizer, after_step=lambda: None, num_steps=6):
    """The first words of each warning during a run."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(num_steps):
            train(model, optimizer, 1)
            after_step()
    found = [str(warning.message) for warning in caught]
    return [next((known for known in (LOOKS, FELL) if known in message), message) for message in found]


@pytest.mark.parametrize(
    ("scales", "warned"),
    [
        ([1.0] * 4, []),
        ([1e-3] * 4, [LOOKS]),
        ([0.0, 1e-3, 1e-3, 1e-3], [LOOKS]),
        ([1e-4, 6e-4, 5e-4, 4e-4], [LOOKS, FELL]),
        ([0.25, 0.5, 1.0, 1.0], []),
        ([1.0, 0.0, 1.0, 1.0], []),
        ([1.0, 0.9, 0.8, 0.7], [FELL]),
    ],
)
def test_an_lr_that_a_loop_sets(scales, warned):
    model = network()
    optimizer = reader(model.parameters())
    rest = iter(scales)

    def set_lr():
        for group in optimizer.param_groups:
            group["lr"] = next(rest, scales[-1])

    set_lr()
    assert told(model, optimizer, set_lr, num_steps=4) == warned


def test_the_lr_of_another_optimizer():
    model = network()
    assert told(model, reader(model.parameters(), lr=3e-4)) == [LOOKS]


def test_groups_that_lag_behind_are_meant():
    model = network()
    groups = [{"params": model[0].parameters(), "lr": 0.01}, {"params": model[2].parameters()}]
    assert told(model, reader(groups)) == []


@pytest.mark.parametrize(
    ("create", "warned"),
    [
        (lambda optimizer: lr_scheduler.LinearLR(optimizer, 0.01, 1.0, 5), []),
        (lambda optimizer: lr_scheduler.ConstantLR(optimizer, 1.0), []),
        (lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 6), [FELL]),
        (lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=7), [FELL]),
        (lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=7), [LOOKS, FELL]),
        (lambda optimizer: lr_scheduler.CyclicLR(optimizer, 0.1, 1.0, 2), [FELL]),
    ],
)
def test_schedulers(create, warned):
    model = network()
    optimizer = reader(model.parameters())
    scheduler = create(optimizer)
    assert told(model, optimizer, scheduler.step) == warned


def test_the_scheduler_of_the_trainer():
    optimization = pytest.importorskip("transformers.optimization")
    for name, warned in (("linear", [FELL]), ("cosine", [FELL]), ("constant", []), ("constant_with_warmup", [])):
        model = network()
        optimizer = reader(model.parameters())
        scheduler = optimization.get_scheduler(name, optimizer, num_warmup_steps=2, num_training_steps=6)
        assert told(model, optimizer, scheduler.step) == warned
