"""Every architecture in a size that compiles quickly."""

import os
import shlex
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import velo
from velo.architectures.velo import kernel

ARCHITECTURES = {
    "VeLO": velo.VeLO(lstm_size=4, num_mixtures=2),
    "VeLO, elementwise": velo.VeLO(lstm_size=4, num_mixtures=2, basis="elementwise"),
    "HyperV2": velo.HyperV2(lstm_size=4, num_mixtures=2),
    "Celo": velo.Celo(lstm_size=4),
    "CeloAdam": velo.CeloAdam(lstm_size=4),
    "Celo2": velo.Celo2(mlp_width=4),
    "AdafacMLP": velo.AdafacMLP(),
    "RNNMLP": velo.RNNMLP(lstm_size=4, mlp_width=4, from_mlp_size=2, from_lstm_size=3, lstm_to_mlp_size=2),
}
NUM_STEPS = 10


def theta_of(architecture: velo.LearnedOptimizer):
    """An initialisation with noise on every leaf, so that no output layer is zero."""
    theta = architecture.init(jax.random.key(0))
    random = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: leaf + jnp.asarray(0.1 * random.standard_normal(leaf.shape), leaf.dtype), theta)


def double_precision():
    """A context in which `jax_enable_x64` is set."""
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    return jax.experimental.enable_x64()  # older versions of JAX


def random_tree(shapes: dict, seed: int, dtype=jnp.float32) -> dict:
    random = np.random.default_rng(seed)
    return {name: jnp.asarray(random.standard_normal(shape), dtype) for name, shape in shapes.items()}


def use_kernel(monkeypatch) -> None:
    """Makes programs that this test traces from now on use the C++ passes, which are built once for all test runs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path(__file__).parents[2] / ".cache"))
    if not kernel.library_path().exists():
        if shutil.which(shlex.split(os.environ.get("CXX", "c++"))[0]) is None:
            pytest.skip("there is no C++ compiler")
        kernel.build()
    monkeypatch.setenv(kernel.VARIABLE, "on")
