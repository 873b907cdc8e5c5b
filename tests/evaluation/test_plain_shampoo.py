"""Shampoo without grafting against a slow reference, and the geometry of its first step."""

import jax
import jax.numpy as jnp
import numpy as np

from evaluation.baselines import kronecker
from evaluation.baselines.kronecker import constant_damping, relative_damping
from evaluation.baselines.plain_shampoo import scale_by_plain_shampoo

SHAPES = {"kernel": (2, 2, 4), "matrix": (4, 3), "scalar": (), "tall": (6, 3), "vector": (3,)}
"""Sides up to `MAX_SIDE` = 4 get a factor, so "tall" has one on one side only."""
NUM_STEPS, SHARE, DECAY, FREQUENCY, MAX_SIDE = 9, 0.02, 0.8, 3, 4
RNG = np.random.default_rng(0)
GRADIENTS = {name: RNG.normal(size=(NUM_STEPS, *shape)) for name, shape in SHAPES.items()}


class SlowPlainShampoo:
    """The loop for a tensor of at most two axes, in float64."""

    def __init__(self, shape):
        self.sided = [side <= MAX_SIDE for side in shape]
        self.factors, self.roots, self.count = [np.zeros((side, side)) for side in shape], None, 0

    def root(self, factor):
        values, vectors = np.linalg.eigh(factor / (1 - DECAY**self.count))
        damped = values + SHARE * values.sum()
        return vectors @ np.diag(damped ** (-1 / (2 * len(self.sided)))) @ vectors.T

    def step(self, grad):
        self.count += 1
        products = (grad @ grad.T, grad.T @ grad) if grad.ndim == 2 else (np.multiply.outer(grad, grad),) * grad.ndim
        self.factors = [DECAY * f + (1 - DECAY) * p for f, p in zip(self.factors, products, strict=True)]
        if (self.count - 1) % FREQUENCY == 0:
            self.roots = [self.root(factor) for factor in self.factors]
        if not self.sided:
            return grad
        step = self.roots[0] @ grad if self.sided[0] else grad
        return step @ self.roots[1] if len(self.sided) == 2 and self.sided[1] else step


def test_steps_equal_a_slow_reference():
    tx = scale_by_plain_shampoo(relative_damping(SHARE), decay=DECAY, frequency=FREQUENCY, max_side=MAX_SIDE)

    @jax.jit
    def run(gradients):
        start = tx.init(jax.tree.map(lambda leaf: leaf[0], gradients))
        return jax.lax.scan(lambda state, grads: tx.update(grads, state)[::-1], start, gradients)[1]

    found = run(jax.tree.map(jnp.float32, GRADIENTS))
    for name, grads in GRADIENTS.items():
        folded = kronecker.fold(SHAPES[name])
        slow = SlowPlainShampoo(folded)
        expected = np.array([slow.step(grad.reshape(folded)).reshape(SHAPES[name]) for grad in grads])
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=2e-5, err_msg=name)


def test_the_first_step_makes_all_singular_values_one_and_a_gradient_of_zero_makes_none():
    tx = scale_by_plain_shampoo(constant_damping(1e-9))
    grads = {"matrix": jnp.float32(GRADIENTS["matrix"][0]), "unused": jnp.zeros((2, 3))}
    steps, _ = tx.update(grads, tx.init(grads))
    np.testing.assert_allclose(jnp.linalg.svd(steps["matrix"])[1], 1.0, atol=1e-3)
    assert not np.any(steps["unused"])
