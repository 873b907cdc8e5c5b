"""Every framework's example trains its classifier; the first of them with VeLO, the others with what compiles sooner."""

import importlib
import sys
from pathlib import Path

import jax
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("name", ["plain_jax", "flax_nnx", "flax_linen", "equinox_module", "haiku_transform"])
def test_an_example_learns_the_digits(name, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setattr(sys, "argv", [name])
    with jax.numpy_rank_promotion("allow"):  # an example is written as its reader would write it
        accuracy = importlib.import_module(name).main(num_steps=40)
    assert accuracy > 0.8
    assert "accuracy" in capsys.readouterr().out
