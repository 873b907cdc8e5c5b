"""The quadratic of 2007.01547 against its published numbers."""

import jax
import numpy as np
import optax
import pytest

from tasks import fixed, inner_loop
from tasks.families.crowded_valley_quadratic import CrowdedValleyQuadratic, hessian

(TASK,) = fixed.CROWDED_VALLEY
NUM_TEST = 7 * 128
"""Test points that count: the benchmark drops the incomplete batch."""


def _test_loss(params) -> float:
    offset = np.asarray(params["theta"], np.float64) - np.asarray(TASK.family.load()[1], np.float64)[:NUM_TEST]
    return float(0.5 * np.mean(np.sum(offset @ hessian() * offset, axis=1)))


def test_the_initial_loss_is_the_published_one():
    params = TASK.family.init((), jax.random.key(0))
    assert _test_loss(params) == pytest.approx(353.446764, abs=1e-4)
    loss = TASK.family.loss((), params, TASK.family.load()[1][:NUM_TEST], jax.random.key(0))
    assert float(loss) == pytest.approx(353.446764, rel=1e-5)  # in float32


def test_adam_as_it_comes_reaches_the_published_loss():
    family = TASK.family
    train = family.load()[0]

    @jax.jit
    def run(key):
        tx = optax.adam(1e-3)
        state = inner_loop.start(family, tx, (), key)
        return inner_loop.train(family, tx, (), state, train, key, num_steps=TASK.num_steps)[0].params

    assert _test_loss(run(jax.random.key(0))) == pytest.approx(106.6, abs=1.0)


def test_its_batches_have_a_range():
    with pytest.raises(ValueError, match=r"batch_size must be in \[1, 1000\], got 1001"):
        CrowdedValleyQuadratic(batch_size=1001)
