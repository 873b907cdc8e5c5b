"""The pages of PyTorch's frameworks and Keras run as they stand, and their optimizers read the right losses."""

import importlib
import os
import re
import warnings

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits

import velo
from tests.docs.test_pages import ROOT
from tests.velo.loss_reader import READER, losses_of

pytestmark = pytest.mark.filterwarnings("ignore")  # the frameworks warn when they are imported and later


def code(name):
    """The code blocks of a page, with shortened runs."""
    text = (ROOT / "docs" / "frameworks" / f"{name}.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert blocks
    shorter = (r"(max_epochs=|num_epochs, batch_size = |num_steps = )(10|300)\b", r"\g<1>2")
    return [re.sub(*shorter, block) for block in blocks]


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tmp_path):
    """Replaces the weights by ones that compile quickly and record the losses that they read."""
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module("velo.transformation")
    monkeypatch.setattr(module, "resolve_weights", lambda weights: READER if isinstance(weights, str) else weights)
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture
def torch():
    module = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'velo[torch]'")
    module.manual_seed(0)
    return module


def need(*modules):
    """Skips the test if a module isn't installed; ignores warnings, which some modules raise on import."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in modules:
            pytest.importorskip(module, reason=f"{module} is not installed: pip install 'velo[frameworks]'")


def test_pytorch(torch):
    namespace = {}
    define, loop, accumulation, groups, save = code("pytorch")
    for block in (define, loop, accumulation):
        exec(block, namespace)
    assert len(losses_of(namespace["optimizer"])) == namespace["num_steps"]
    assert losses_of(namespace["optimizer"])[0] == pytest.approx(namespace["loss"].item() * 4, rel=0.2)
    for block in (groups, save):
        exec(block, namespace)
    assert namespace["optimizer"]._num_done == namespace["num_steps"]


def data(torch, number):
    digits = load_digits()
    images, labels = torch.tensor(digits.data / 8 - 1, dtype=torch.float32), torch.tensor(digits.target)
    return {"images": images[:number], "labels": labels[:number]}


def test_lightning(torch):
    need("lightning")
    namespace = data(torch, 384)
    automatic, accumulating, manual = code("lightning")
    exec(automatic, namespace)
    losses = losses_of(namespace["trainer"].optimizers[0])
    assert len(losses) == 6
    assert losses[0] == pytest.approx(np.log(10), rel=0.2)

    torch.manual_seed(0)
    exec(accumulating, namespace)
    losses = losses_of(namespace["trainer"].optimizers[0])
    assert len(losses) == 2
    assert losses[0] == pytest.approx(np.log(10) * 3 / 4, rel=0.2)  # three parts of an epoch, each divided by four

    exec(manual, namespace)
    assert len(losses_of(namespace["trainer"].optimizers[0])) == 6


def test_lightning_continues_from_a_checkpoint(torch):
    need("lightning")
    namespace = data(torch, 256)
    exec(code("lightning")[0].replace("shuffle=True", "shuffle=False"), namespace)
    lightning, loader = namespace["lightning"], namespace["loader"]
    options = {"max_epochs": 2, "accelerator": "cpu", "logger": False}
    torch.manual_seed(0)
    whole = namespace["Classifier"]()
    lightning.Trainer(**options).fit(whole, loader)

    def stop(trainer, module):
        trainer.should_stop = True

    torch.manual_seed(0)
    callback = lightning.pytorch.callbacks.LambdaCallback(on_train_epoch_end=stop)
    first = lightning.Trainer(**options, callbacks=[callback])
    first.fit(namespace["Classifier"](), loader)
    first.save_checkpoint("first.ckpt")
    assert len(losses_of(first.optimizers[0])) == 2
    model = namespace["Classifier"]()
    last = lightning.Trainer(**options)
    last.fit(model, loader, ckpt_path="first.ckpt")
    assert len(losses_of(last.optimizers[0])) == 4
    torch.testing.assert_close(model.state_dict(), whole.state_dict())


def test_trainer(torch):
    need("transformers", "accelerate")
    namespace = {}
    define, train, _ = code("trainer")
    train = train.replace("num_steps = 64", "num_steps = 8").replace("save_steps", "disable_tqdm=True, save_steps")
    for block in (define, train):
        exec(block, namespace)
    trainer = namespace["trainer"]
    losses = losses_of(namespace["optimizer"])
    assert len(losses) == 8
    assert losses[0] == pytest.approx(np.log(32), rel=0.1)  # the mean of both parts
    assert {group["lr"] for group in trainer.optimizer.param_groups} == {1.0}

    train = train.replace("train()", 'train(resume_from_checkpoint="runs/trainer/checkpoint-4")')
    exec(train, namespace)
    assert losses_of(namespace["optimizer"]) == pytest.approx(losses, rel=1e-5)
    torch.testing.assert_close(namespace["trainer"].model.state_dict(), trainer.model.state_dict())


def test_accelerate(torch):
    need("accelerate")
    namespace = {"torch": torch, "velo": velo}
    exec(code("trainer")[2].replace("num_epochs = 8", "num_epochs = 1"), namespace)
    losses = losses_of(namespace["velo_optimizer"])
    assert len(losses) == namespace["num_steps"] == 8


@pytest.mark.skipif(os.environ.get("KERAS_BACKEND") != "jax", reason="Keras is on another backend than JAX")
def test_keras():
    need("keras")
    namespace = {}
    for block in code("keras"):
        exec(block, namespace)
    losses = namespace["history"].history["loss"]
    assert losses[1] < losses[0]
