"""Optimizers of theta: chains by name, accumulation, and what is refused."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from meta_train.outer_optimizer import OptaxChain, OuterOptimizer

THETA = {"a": jnp.array([1.0, -2.0])}
GRADS = [{"a": jnp.array([g, 2.0 * g])} for g in (1.0, -3.0, 5.0, 0.5)]


def trajectory(tx):
    theta, state = THETA, tx.init(THETA)
    for grad in GRADS:
        updates, state = tx.update(grad, state, theta)
        theta = optax.apply_updates(theta, updates)
    return theta["a"]


def test_the_default_is_clipped_adamw_and_a_chain_can_say_the_same():
    outer = OuterOptimizer(learning_rate=0.1, clip=2.0, weight_decay=0.01)
    chain = OptaxChain(("clip_by_global_norm(2.0)", "adamw(0.1, b1=0.9, b2=0.99, weight_decay=0.01)"))
    expected = trajectory(optax.chain(optax.clip_by_global_norm(2.0), optax.adamw(0.1, b2=0.99, weight_decay=0.01)))
    np.testing.assert_array_equal(trajectory(outer.build()), expected)
    np.testing.assert_array_equal(trajectory(chain.build()), expected)


def test_a_chain_may_have_schedules():
    chain = OptaxChain(("sgd(linear_schedule(0.0, 1.0, 2))",))
    np.testing.assert_allclose(trajectory(chain.build()), [1 - (0 - 1.5 + 5 + 0.5), -2 - 2 * (0 - 1.5 + 5 + 0.5)])


def test_accumulation_updates_with_the_mean_of_several_gradients():
    np.testing.assert_allclose(
        trajectory(OptaxChain(("sgd(0.5)",), accumulate_steps=2).build()),
        [1 - 0.5 * (-1.0 + 2.75), -2 - 0.5 * 2 * (-1.0 + 2.75)],
        rtol=1e-6,
    )
    assert not np.array_equal(trajectory(OuterOptimizer(accumulate_steps=4).build()), THETA["a"])
    assert np.array_equal(trajectory(OuterOptimizer(accumulate_steps=5).build()), THETA["a"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OptaxChain(("adma(0.1)",)), r"'adma\(0.1\)' can't be built: optax has no adma"),
        (lambda: OptaxChain(("adam(",)), "can't be built"),
        (lambda: OptaxChain(("adam(rate=1)",)), "can't be built"),
        (lambda: OptaxChain(("__import__('os')",)), "optax has no __import__"),
        (lambda: OptaxChain(("adam(open('x'))",)), "optax has no open"),
        (lambda: OptaxChain(("adam.__class__()",)), "can't be built"),
        (lambda: OptaxChain(("adam(1e-3, **{'b1': 0.5})",)), "must be written out"),
        (lambda: OptaxChain(("3",)), "'3' is no gradient transformation"),
        (lambda: OptaxChain(accumulate_steps=0), "accumulate_steps must be at least 1, got 0"),
        (lambda: OuterOptimizer(average_decay=1.0), "average_decay must be in"),
        (lambda: OuterOptimizer(learning_rate=0.0), "learning_rate must be positive"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
