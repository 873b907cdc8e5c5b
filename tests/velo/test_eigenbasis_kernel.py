"""The eigenbasis in C++ is the one in JAX: over matrices of all kinds, refreshes, broken gradients, lanes, threads."""

import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import velo
from tests.velo.registry import use_kernel
from tests.velo.test_eigenbasis import GRADIENTS
from tests.velo.test_kernel import ROOT, assert_close, compile_anew, without
from tests.velo.test_velo import trained_theta

ARCHITECTURE = velo.VeLO(lstm_size=4, num_mixtures=2, refresh_every=3, max_side=32)
NUM_STEPS = 40
SHAPES = {
    "bias": (5,),
    "blocks": (72, 10),
    "conv": (3, 3, 4, 10),
    "empty": (0, 3),
    "odd": (27, 19),
    "large": (64, 48),
    "permuted": (3, 5, 2, 4),
    "row": (1, 9),
    "scalar": (),
    "stack": (3, 8, 6),
    "tall": (70, 6),
    "wide": (6, 70),
    "w": (6, 4),
}
AXES = dict.fromkeys(SHAPES) | {
    "permuted": velo.MatrixAxes((3, 0), (1,)),
    "stack": velo.MatrixAxes((1,), (2,)),
}
SMALL = {"b": (3,), "blocks": (64, 6), "w": (6, 4)}


def tensors(seed, shapes=SHAPES):
    random = np.random.default_rng(seed)
    return {name: jnp.asarray(random.standard_normal(shape), jnp.float32) for name, shape in shapes.items()}


def bound(shapes=SHAPES):
    axes = AXES if shapes is SHAPES else None
    return ARCHITECTURE.bind(trained_theta(ARCHITECTURE), NUM_STEPS, axes)


@functools.cache
def update(shapes=None):
    """Two compiled updates, by the kernel and by JAX; a bound optimizer keeps the path that it was bound with."""
    shapes = SHAPES if shapes is None else SMALL
    params, tx = tensors(0, shapes), {}
    with pytest.MonkeyPatch.context() as context:
        use_kernel(context)
        tx["kernel"] = bound(shapes)
        tx["jax"] = without(context, bound, shapes)
    return [
        compile_anew(lambda grads, state, tx=tx[name]: tx.update(grads, state, params, value=jnp.float32(1.0)))
        for name in ("kernel", "jax")
    ]


@pytest.fixture(autouse=True)
def _on(monkeypatch):
    use_kernel(monkeypatch)


def test_updates_are_those_of_jax():
    """Compares single updates from each state of a run in JAX, and the ends of whole runs past several refreshes.

    The basis of directions that the first gradient doesn't reach is arbitrary, so the comparison starts after step one.
    """
    by_kernel, in_jax = update()
    _, state = in_jax(tensors(1), bound().init(tensors(0)))
    own = state
    for number in range(2, 14):
        grads = tensors(number)
        want = in_jax(grads, state)
        assert_close(by_kernel(grads, state), want, rtol=2e-5)
        updates, own = by_kernel(grads, own)
        state = want[1]
    assert_close(updates, want[0], rtol=1e-4)


def test_bases_of_factors_with_wide_spectra_stay_orthonormal():
    """Gradients whose directions differ by a thousand in length, as those of photographs' patches do."""

    def stretch(x):
        if x.ndim < 2 or x.size == 0:
            return x
        ones = [1] * (x.ndim - 1)
        rows, columns = (jnp.logspace(0, -3, x.shape[axis]) for axis in (0, -1))
        return x * rows.reshape(-1, *ones) * columns.reshape(*ones, -1)

    by_kernel, in_jax = update()
    _, state = in_jax(jax.tree.map(stretch, tensors(1)), bound().init(tensors(0)))
    for number in range(2, 8):
        grads = jax.tree.map(stretch, tensors(number))
        got = by_kernel(grads, state)
        for q in got[1].basis.vectors:
            units = np.broadcast_to(np.eye(q.shape[1]), q.shape)
            np.testing.assert_allclose(jnp.swapaxes(q, 1, 2) @ q, units, atol=3e-6)
        _, state = in_jax(grads, state)


def test_the_first_basis_holds_eigenvectors():
    """It is orthonormal, and the factors in it have falling eigenvalues on the diagonal, also for a zero gradient."""
    grads = tensors(1) | {"odd": jnp.zeros(SHAPES["odd"])}
    _, state = update()[0](grads, bound().init(tensors(0)))
    for q, a in zip(state.basis.vectors, state.basis.factors, strict=True):
        np.testing.assert_allclose(jnp.swapaxes(q, 1, 2) @ q, np.broadcast_to(np.eye(q.shape[1]), q.shape), atol=3e-6)
        diagonal = jnp.diagonal(a, axis1=1, axis2=2)
        scale = max(float(jnp.abs(a).max()), 1e-30)
        np.testing.assert_allclose(a, jax.vmap(jnp.diag)(diagonal), atol=3e-6 * scale)
        assert bool(jnp.all(diagonal[:, 1:] <= diagonal[:, :-1] + 3e-6 * scale))
    _, want = update()[1](grads, bound().init(tensors(0)))
    for a, b in zip(state.basis.factors, want.basis.factors, strict=True):
        assert_close(jnp.diagonal(a, axis1=1, axis2=2), jnp.diagonal(b, axis1=1, axis2=2), rtol=1e-5)


@pytest.mark.parametrize("kind", GRADIENTS)
@pytest.mark.parametrize("count", [4, 5])
def test_unusual_gradients_give_what_jax_gives(kind, count):
    """At a refresh, which step 6 is, and before one."""
    by_kernel, in_jax = update("small")
    state = bound(SMALL).init(tensors(0, SMALL))
    for number in range(count + 1):
        _, state = in_jax(tensors(number + 1, SMALL), state)
    grads = tensors(9, SMALL) | {"w": GRADIENTS[kind]}
    got, want = by_kernel(grads, state), in_jax(grads, state)
    assert_close(got[0], want[0], rtol=1e-4)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(got))


@pytest.mark.parametrize("kind", GRADIENTS)
def test_a_run_may_begin_with_unusual_gradients(kind):
    by_kernel, _ = update("small")
    state = bound(SMALL).init(tensors(0, SMALL))
    for number in range(8):
        grads = tensors(number, SMALL) | ({"w": GRADIENTS[kind]} if number < 4 else {})
        updates, state = by_kernel(grads, state)
        assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves((updates, state)))
    assert float(jnp.abs(updates["w"]).min()) > 0


def test_lanes_are_a_loop():
    """At the first step, at a refresh and between two, with parameters that all share."""
    by_kernel, _ = update("small")
    state, states = bound(SMALL).init(tensors(0, SMALL)), []
    for number in range(5):
        states.append(state)
        _, state = by_kernel(tensors(number, SMALL), state)
    chosen = [states[0], states[3], states[4]]
    grads = [tensors(number, SMALL) for number in (5, 6, 7)]
    stack = lambda *leaves: jnp.stack(leaves)  # noqa: E731
    got = jax.jit(jax.vmap(by_kernel))(jax.tree.map(stack, *grads), jax.tree.map(stack, *chosen))
    for lane in range(3):
        alone = by_kernel(grads[lane], chosen[lane])
        assert_close(jax.tree.map(lambda leaf, lane=lane: leaf[lane], got), alone, rtol=2e-5)


@pytest.mark.slow
def test_derivatives_are_those_of_jax(monkeypatch):
    """Of an update with a refresh, by the weights and by the gradients, in reverse mode."""
    state = bound(SMALL).init(tensors(0, SMALL))
    for number in range(3):
        _, state = update("small")[1](tensors(number, SMALL), state)
    theta, params = trained_theta(ARCHITECTURE), tensors(0, SMALL)

    def derivative(theta, grads, state):
        def loss(theta, grads):
            tx = ARCHITECTURE.bind(theta, NUM_STEPS)
            updates, _ = tx.update(grads, state, params, value=jnp.float32(1.0))
            return sum(jnp.sum(jnp.square(1e3 * leaf)) for leaf in jax.tree.leaves(updates))

        return jax.grad(loss, argnums=(0, 1))(theta, grads)

    given = theta, tensors(4, SMALL), state
    got, want = compile_anew(derivative)(*given), without(monkeypatch, compile_anew(derivative), *given)
    assert_close(got, want, rtol=1e-3)
    assert float(jnp.abs(got[0]["hypernetwork"]["log_step"]["b"][0])) > 0
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(got[1]))


THREADS = """
import sys
import numpy as np
from tests.velo.test_eigenbasis_kernel import thread_work
np.save(sys.argv[1], thread_work())
"""


def thread_work():
    """All that updates give from the first step to a refresh."""
    by_kernel, state = update("small")[0], bound(SMALL).init(tensors(0, SMALL))
    for number in range(4):
        result = by_kernel(tensors(number, SMALL), state)
        state = result[1]
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(result)])


def test_threads_change_no_bit(tmp_path):
    path = tmp_path / "out.npy"
    environment = {**os.environ, "NPROC": "3", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", THREADS, str(path)], check=True, cwd=ROOT, env=environment)
    np.testing.assert_array_equal(np.load(path), thread_work())
