"""How the tests import an example, and the weights that they give it."""

import importlib
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from tests.examples.learned_rate import LearnedRate

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def load(monkeypatch):
    """Imports an example by its name, as `python NAME.py` would from its folder, with weights that compile quickly."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setattr(importlib.import_module("digits"), "weights", lambda: (LearnedRate(), jnp.float32(0.01)))
    with jax.numpy_rank_promotion("allow"):  # an example is written as its reader would write it
        yield importlib.import_module
