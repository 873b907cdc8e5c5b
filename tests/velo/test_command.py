"""`python -m velo WEIGHTS` says what a file is, or why it can't."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

import velo
from configs import train_command
from tests.velo import recordings
from tests.velo.probe import Probe
from velo.__main__ import main


def test_prints_what_a_file_is(tmp_path, capsys):
    optimizer = velo.CeloAdam(lstm_size=3)
    theta = optimizer.init(jax.random.key(0))
    info = velo.save_weights(tmp_path / "a.velo", optimizer, theta, {"outer_steps": 12}, licence="Apache-2.0")
    assert main([str(tmp_path / "a.velo")]) == 0
    printed = capsys.readouterr().out
    for part in ("CeloAdam", "lstm_size                3", "Apache-2.0", info.digest, '"outer_steps": 12', "(6, 12)"):
        assert part in printed


def test_released_files_too(capsys):
    assert main([str(recordings.FOLDER / "hyperv2_h16_p8.tuple_ckpt")]) == 0
    printed = capsys.readouterr().out
    assert "HyperV2" in printed and "golden_gen_id" in printed and "released file of HyperV2" in printed


@pytest.mark.parametrize("name", ["missing", "text"])
def test_says_what_is_wrong(name, tmp_path, capsys):
    (tmp_path / "text").write_text("no weights")
    assert main([str(tmp_path / name)]) == 2
    assert name in capsys.readouterr().err


def test_trains_a_bundled_task(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        train_command, "resolve_weights", lambda weights: {"some.velo": (Probe(), jnp.float32(0.1))}[weights]
    )
    picture = tmp_path / "history.png"
    command = ["train", "mlp_breast_cancer", "--weights", "some.velo", "--num-steps", "20", "--plot", str(picture)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "20 of 20 steps" in printed and "validation loss" in printed
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_tasks_of_ones_own_are_found_by_module_and_name():
    family, num_steps = train_command.resolve("tasks.families.quadratic:Quadratic")
    assert type(family).__name__ == "Quadratic" and num_steps is None
    assert train_command.resolve("mlp_breast_cancer")[1] == 300


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("nothing", "unknown task 'nothing'; known: "),
        ("no_module:name", "there is no module no_module"),
        ("json:dumps", "json:dumps is no tasks.fixed.FixedTask"),
        ("tasks.families.quadratic:Quadratic", "give --num-steps"),
    ],
)
def test_train_says_what_is_wrong(task, message, capsys):
    assert main(["train", task]) == 2
    assert message in capsys.readouterr().err


def test_importing_velo_computes_nothing_and_needs_little():
    """No device is set up, and none of the other packages is imported."""
    code = (
        "import sys, velo\n"
        "from jax._src import xla_bridge\n"
        "assert not xla_bridge._backends, 'a backend was initialised'\n"
        "extra = {'orbax.checkpoint', 'rich', 'matplotlib', 'torch', 'keras', 'ray', 'pandas', 'safetensors'}\n"
        "extra |= {'tasks', 'meta_train', 'evaluation', 'configs'}\n"
        "print(sorted(extra & set(sys.modules)))\n"
    )
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
