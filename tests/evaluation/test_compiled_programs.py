import gc
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evaluation.compiled_programs import CompiledPrograms, Stopwatch

X = jnp.ones((3, 3))
NUM_COMPILED = []


def scaled(factor, x):
    NUM_COMPILED.append(factor)  # once a trace
    return jnp.tanh(factor * x) @ x


def bystander(x):
    NUM_COMPILED.append("bystander")
    return x + 1.0


def _num_maps():
    return len(Path("/proc/self/maps").read_text().splitlines())


def test_equal_programs_are_compiled_once_whatever_the_values():
    programs = CompiledPrograms()
    first = programs.get(scaled, (2,), X)
    assert programs.get(scaled, (2,), 5.0 * X) is first
    assert programs.get(scaled, (2,), X[:, :1] @ X[:1]) is first
    assert programs.get(scaled, (3,), X) is not first
    assert programs.num_compilations == len(programs) == 2
    np.testing.assert_allclose(first.executable(2.0 * X), np.tanh(4.0 * np.ones((3, 3))) @ (2.0 * np.ones((3, 3))))


def test_the_one_not_used_for_longest_goes():
    programs = CompiledPrograms(max_programs=2)
    for factor in (1, 2, 1, 3, 1):
        programs.get(scaled, (factor,), X)
    assert programs.num_compilations == 3
    programs.get(scaled, (2,), X)
    assert (programs.num_compilations, len(programs)) == (4, 2)


def test_a_bound_below_one_is_refused():
    with pytest.raises(ValueError, match="max_programs must be at least 1, got 0"):
        CompiledPrograms(0)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_dropped_programs_free_their_memory_maps_and_leave_others_alone():
    """A process has 65,530 maps, a program takes dozens to hundreds."""
    others = jax.jit(bystander)
    others(X)
    programs = CompiledPrograms(max_programs=2)
    gc.collect()
    before = _num_maps()
    counts = []
    for factor in range(12):
        programs.get(scaled, (factor,), X).executable(X).block_until_ready()
        gc.collect()
        counts.append(_num_maps() - before)
    assert counts[1] > 0
    assert counts[-1] < 2 * counts[1] + 20
    del programs
    gc.collect()
    assert _num_maps() - before < counts[1]
    num_compiled = len(NUM_COMPILED)
    others(X)
    assert len(NUM_COMPILED) == num_compiled


def test_the_stopwatch_keeps_compiling_apart_from_running():
    stopwatch = Stopwatch(CompiledPrograms())
    for _ in range(2):
        stopwatch.call(scaled, (7,), X)
    assert 0 < stopwatch.seconds < stopwatch.compile_seconds
    memory_bytes = stopwatch.memory_bytes()
    assert memory_bytes is None or memory_bytes >= 2 * X.nbytes
