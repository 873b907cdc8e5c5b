"""Compiled programs: kept while they are among the last that were used, and nobody else's are touched."""

import gc
import weakref

import jax
import jax.numpy as jnp

from meta_train.programs import Programs
from tests.meta_train import analytic
from tests.meta_train.settings import TINY, TINY_FULL


def run(programs, problem):
    program = programs.of(problem)
    state = program.init(analytic.theta(), (), jax.random.key(0))
    return program.estimate(analytic.theta(), state, (), jax.random.key(1))[0]


def test_the_last_used_are_kept_and_the_others_are_freed():
    programs = Programs(TINY_FULL.estimator, max_problems=2)
    one, two, three = (analytic.Decay(num_segments) for num_segments in (1, 2, 4))
    run(programs, one)
    run(programs, two)
    kept, dropped = programs.of(one), weakref.ref(programs.of(two).estimate)
    assert programs.of(one) is kept and programs.of(analytic.Decay(1)) is kept  # by value
    run(programs, three)
    gc.collect()
    assert len(programs) == 2 and dropped() is None
    assert programs.of(one) is kept


def test_what_the_user_has_compiled_stays():
    """A regression: runs that had sampled many architectures used to clear JAX's caches."""
    traces = []

    @jax.jit
    def mine(x):
        traces.append(x)
        return x + 1

    mine(jnp.zeros(3))
    programs = Programs(TINY_FULL.estimator, max_problems=1)
    for num_segments in (1, 2, 4, 8):
        run(programs, analytic.Decay(num_segments))
    mine(jnp.zeros(3))
    assert len(traces) == 1


def test_a_seeded_estimate_holds_coefficients_and_others_a_gradient():
    seeded = run(Programs(TINY_FULL.estimator), analytic.Decay(2))
    assert seeded.grad is None and seeded.coefficients.shape == (2,)
    other = run(Programs(TINY.estimator), analytic.Decay(2))
    assert other.coefficients is None and other.grad["rate"].shape == ()
