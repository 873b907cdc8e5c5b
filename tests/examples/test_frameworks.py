"""Every framework's example trains its classifier: one with VeLO, the others with what compiles sooner."""

import sys

import pytest


def learns(module, capsys):
    assert module.main(num_steps=40) > 0.8
    assert "accuracy" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["flax_nnx", "flax_linen", "equinox_module", "haiku_transform"])
def test_an_example_learns_the_digits(name, load, capsys):
    learns(load(name), capsys)


def test_plain_jax_with_the_weights_of_the_command_line(load, monkeypatch, capsys):
    module = load("plain_jax")
    monkeypatch.undo()  # the weights of the fixture
    monkeypatch.setattr(sys, "argv", ["plain_jax"])
    learns(module, capsys)
