"""Reading tests/golden, and the error measure of its tolerances."""

import functools
import pathlib
from typing import Any

import numpy as np

FOLDER = pathlib.Path(__file__).parents[1] / "golden"
STEPS = (1, 2, 5, 20)
TOLERANCES = {1: 1e-6, 2: 1e-6, 5: 3e-6, 20: 3e-5}


@functools.cache
def read(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)


def inputs() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray, int]:
    """Parameters, gradients (20 in front), losses and the number of steps announced."""
    recorded = read("inputs")
    params = group(recorded, "init_params/")
    grads = group(recorded, "grads/")
    return params, grads, recorded["losses"], int(recorded["num_steps"])


def group(recorded: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): value for name, value in recorded.items() if name.startswith(prefix)}


def error(got: Any, want: np.ndarray) -> float:
    """Largest difference over the largest entry."""
    got = np.asarray(got, np.float64)
    assert got.shape == want.shape
    return float(np.max(np.abs(got - want), initial=0.0) / max(np.max(np.abs(want), initial=0.0), 1e-30))


def large_theta(recorded: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The theta of the 512/256 recordings, in the reference's names, rebuilt from its recipe and checked."""
    random = np.random.default_rng(123)
    theta = {}
    checks = zip(recorded["theta_leaf_first3"], recorded["theta_leaf_sum"], strict=True)
    shapes = [tuple(int(size) for size in shape if size >= 0) for shape in map(_shape, recorded["theta_leaf_shapes"])]
    for name, shape, (first, total) in zip(map(str, recorded["theta_leaf_order"]), shapes, checks, strict=True):
        scale = 0.3 if len(shape) == 1 or shape[-2] == 1 else 1 / np.sqrt(shape[-2])
        leaf = (random.standard_normal(shape) * scale).astype(np.float32)
        leaf = leaf * np.float32(0.1) if "/step_size/" in name else leaf
        np.testing.assert_allclose(leaf.ravel()[:3], first[: leaf.size], rtol=1e-6)
        np.testing.assert_allclose(leaf.astype(np.float64).sum(), total, rtol=1e-4, atol=1e-4)
        theta[name.removeprefix("theta/")] = leaf
    return theta


def _shape(shape: Any) -> tuple[int, ...]:
    if isinstance(shape, str | np.str_):
        return tuple(int(size) for size in str(shape).strip("()[] ").replace(",", " ").split())
    return tuple(shape)
