"""The eigenbasis: what it is blind to, that it stays a basis, and that nothing unusual breaks it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import velo
from tests.velo.test_velo import trained_theta
from velo.architectures.velo import turns
from velo.architectures.velo.conditional import when

ARCHITECTURE = velo.VeLO(lstm_size=4, num_mixtures=2, refresh_every=3)
SIZE = 5


def random(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def orthogonal(seed):
    return jnp.linalg.qr(random((SIZE, SIZE), seed))[0]


def run(tx, loss_fn, params, num_steps):
    """(parameters after each step, the last state)."""

    def step(carry, _):
        params, state = carry
        loss, grads = jax.value_and_grad(loss_fn)(params)
        updates, state = tx.update(grads, state, params, value=loss)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    (_, state), path = jax.lax.scan(step, (params, tx.init(params)), length=num_steps)
    return path, state


def test_a_rotation_of_the_problem_rotates_the_run():
    """On a noisy quadratic at a fixed rate.

    The distance estimate, measured in the original coordinates, starts too high to ever move.
    """
    architecture = velo.VeLO(lstm_size=4, num_mixtures=2, initial_distance=1.0)
    weights = architecture, architecture.init(jax.random.key(0))
    num_steps = 40
    tx = velo.optimizer(num_steps, weights, step_scale=0.01)
    spectrum = jnp.array([1.0, 1.3, 1.7, 2.2, 3.0])
    left, right = (q @ jnp.diag(spectrum) @ q.T for q in (orthogonal(1), orthogonal(2)))
    start, u, v = random((SIZE, SIZE), 3), orthogonal(4), orthogonal(5)
    noise = random((num_steps, SIZE, SIZE), 6)

    def final(u, v):
        hessians = u @ left @ u.T, v @ right @ v.T

        def step(carry, noise):
            w, state = carry
            gradient = hessians[0] @ w @ hessians[1] + u @ noise @ v.T
            update, state = tx.update(gradient, state, w, value=jnp.float32(1.0))
            return (w + update, state), state.learned.distance.estimate

        with jax.default_matmul_precision("highest"):
            start_here = u @ start @ v.T
            (w, _), estimates = jax.lax.scan(step, (start_here, tx.init(start_here)), noise)
            return u.T @ w @ v, estimates

    want, estimates = jax.jit(final)(jnp.eye(SIZE), jnp.eye(SIZE))
    got, _ = jax.jit(final)(u, v)
    np.testing.assert_array_equal(estimates, jnp.ones(num_steps))
    moved = float(jnp.abs(want - start).max())
    assert moved > 0.1
    np.testing.assert_allclose(got, want, atol=2e-3 * moved)


def test_the_basis_stays_orthonormal_and_diagonalizes():
    theta = ARCHITECTURE.init(jax.random.key(0))
    target = random((12, 8), 1) * jnp.logspace(0, -2, 8)[None]
    tx = ARCHITECTURE.bind(theta, 400)
    _, state = jax.jit(lambda w: run(tx, lambda w: jnp.mean(jnp.square(w - target)), w, 400))(random((12, 8), 2))
    for q, a in zip(state.basis.vectors, state.basis.factors, strict=True):
        np.testing.assert_allclose(jnp.swapaxes(q, 1, 2) @ q, jnp.eye(q.shape[-1])[None], atol=1e-5)
        diagonal = jnp.diagonal(a, axis1=1, axis2=2)
        off = jnp.linalg.norm(a - jax.vmap(jnp.diag)(diagonal)) / jnp.linalg.norm(a)
        assert float(off) < 0.1


@pytest.mark.parametrize("rank", [0, 2, 6])
def test_householder_is_lapack_s_qr(rank):
    matrices = random((3, 6, max(rank, 1)), 1) * (rank > 0)
    matrices = matrices @ jnp.swapaxes(matrices, 1, 2) + jnp.zeros((3, 6, 6))
    q, r = turns._householder(matrices)
    np.testing.assert_allclose(jnp.swapaxes(q, 1, 2) @ q, jnp.broadcast_to(jnp.eye(6), (3, 6, 6)), atol=1e-5)
    scale = max(float(jnp.abs(matrices).max()), 1.0)
    largest = jnp.max(jnp.abs(matrices), axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(q @ r * jnp.where(largest > 0, largest, 1.0), matrices, atol=1e-5 * scale)
    np.testing.assert_allclose(jnp.tril(r, -1), jnp.zeros_like(r), atol=1e-5)
    if rank == 6:
        want, triangle = jnp.linalg.qr(matrices)
        signs = jnp.sign(jnp.diagonal(triangle, axis1=1, axis2=2) * jnp.diagonal(r, axis1=1, axis2=2))
        np.testing.assert_allclose(q * signs[:, None], want, atol=2e-4)


GRADIENTS = {
    "zero": jnp.zeros((6, 4)),
    "rank one": jnp.outer(jnp.arange(6.0), jnp.arange(4.0)),
    "one row": jnp.zeros((6, 4)).at[2].set(1.0),
    "tiny": jnp.full((6, 4), 1e-25),
    "huge": jnp.full((6, 4), 1e14) * jnp.arange(24.0).reshape(6, 4),
    "broken": jnp.ones((6, 4)).at[0, 0].set(jnp.nan).at[1, 1].set(jnp.inf),
}


@pytest.mark.parametrize("kind", GRADIENTS)
def test_unusual_gradients_break_nothing(kind):
    """They give finite steps, and training continues normally afterwards."""
    params = {"w": random((6, 4)), "row": random((1, 9)), "usual": random((4, 3))}
    usual = {name: random(leaf.shape, 7) for name, leaf in params.items()}
    tx = ARCHITECTURE.bind(trained_theta(ARCHITECTURE), 20)
    update = jax.jit(lambda grads, state: tx.update(grads, state, params, value=jnp.float32(1.0)))
    state = tx.init(params)
    for grads in [{**usual, "w": GRADIENTS[kind]}] * 4 + [usual] * 4:
        updates, state = update(grads, state)
        assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves((updates, state)))
    assert float(jnp.abs(updates["w"]).min()) > 0


def test_a_side_without_gradients_does_not_move():
    """Rows that never had a gradient stay apart from those that had, in every basis."""
    architecture = velo.VeLO()
    tx = architecture.bind(architecture.init(jax.random.key(0)), 20)
    target = random((8, 6), 1)

    def loss(w):
        return jnp.sum(jnp.square(w[:3] - target[:3]))

    path, _ = jax.jit(lambda w: run(tx, loss, w, 20))(jnp.zeros((8, 6)))
    assert float(jnp.abs(path[-1][:3]).mean()) > 1e-4
    assert float(jnp.abs(path[-1][3:]).max()) < 1e-4 * float(jnp.abs(path[-1][:3]).max())


def test_lanes_at_different_steps_are_a_loop():
    """One lane refreshes its basis while the other doesn't."""
    params, theta = {"w": random((6, 4)), "b": random(3)}, trained_theta(ARCHITECTURE)
    tx = ARCHITECTURE.bind(theta, 20)

    def some(params, state, count):
        def body(number, carry):
            params, state = carry
            grads = jax.tree.map(lambda leaf: jnp.sin(7.0 * leaf + number), params)
            updates, new = tx.update(grads, state, params, value=jnp.float32(1.0))
            moved = optax.apply_updates(params, updates)
            return jax.tree.map(lambda a, b: jnp.where(number < count, a, b), (moved, new), carry)

        return jax.lax.fori_loop(0, 6, body, (params, state))

    def whole(count):
        params_, state = some(params, tx.init(params), count)
        return some(params_, state, jnp.int32(6))[0]

    counts = jnp.array([0, 1, 2, 5])
    got = jax.jit(jax.vmap(whole))(counts)
    want = [jax.jit(whole)(count) for count in counts]
    for index, alone in enumerate(want):
        jax.tree.map(lambda a, b, i=index: np.testing.assert_allclose(a[i], b, rtol=1e-4, atol=1e-6), got, alone)


def test_meta_gradients_are_finite_and_pass_a_refresh():
    """Backwards through refreshes, the basis counting as a constant."""
    theta, params = trained_theta(ARCHITECTURE), {"w": random((6, 4)), "b": random(3)}
    target = {"w": random((6, 4), 1), "b": random(3, 1)}

    def final_loss(theta):
        def loss(params):
            return sum(jnp.sum(jnp.square(params[name] - target[name])) for name in params)

        path, _ = run(ARCHITECTURE.bind(theta, 20), loss, params, 8)
        return loss(jax.tree.map(lambda leaf: leaf[-1], path))

    gradient = jax.jit(jax.grad(final_loss))(theta)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(gradient))
    assert float(jnp.abs(gradient["hypernetwork"]["log_step"]["b"][0])) > 0


def test_when_computes_for_lanes_that_need_it():
    calls = []

    def work(x):
        jax.debug.callback(lambda _: calls.append(1), x)
        return 2.0 * x

    def some(conditions):
        calls.clear()
        result = jax.jit(jax.vmap(lambda c, x: when(c, work, x)))(jnp.array(conditions), jnp.arange(3.0))
        jax.effects_barrier()
        return list(np.asarray(result)), bool(calls)

    assert some([False, False, False]) == ([0.0, 1.0, 2.0], False)
    assert some([False, True, False]) == ([0.0, 2.0, 2.0], True)
    nested = jax.vmap(jax.vmap(lambda c, x: when(c, lambda x: x + 1.0, x)))
    conditions = jnp.array([[True, False], [False, False]])
    np.testing.assert_array_equal(nested(conditions, jnp.zeros((2, 2))), conditions.astype(jnp.float32))
