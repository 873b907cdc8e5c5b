"""The C++ passes are the JAX ones: over odd trees, broken gradients, lanes, loops, derivatives and threads."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.velo.registry import random_tree
from tests.velo.test_update import compiled
from tests.velo.test_velo import trained_theta
from velo import VeLO, kernel, packing, passes
from velo.__main__ import main

ROOT = Path(__file__).parents[2]
NUM_STEPS = 20
SHAPES = {
    "bfloat16": (37,),
    "empty": (0, 3),
    "kernel": (3, 3, 2, 5),
    "pages": (40, 33),
    "pieces": (2, 20_000),
    "scalar": (),
    "still": (6,),
    **{f"small {index}": (index % 5 + 1, 7) for index in range(40)},
}
ARCHITECTURES = [
    VeLO(lstm_size=3, num_mixtures=2),
    VeLO(lstm_size=3, num_mixtures=2, mlp_width=7, mlp_depth=1, nominal=0.5),
    VeLO(lstm_size=3, num_mixtures=2, mlp_width=2, mlp_depth=3),
]
FEW = {"bias": (5,), "kernel": (16, 9)}


@pytest.fixture(autouse=True)
def _built(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(ROOT / ".cache"))
    if not kernel.library_path().exists():
        if shutil.which(shlex.split(os.environ.get("CXX", "c++"))[0]) is None:
            pytest.skip("there is no C++ compiler")
        kernel.build()


@pytest.fixture(autouse=True)
def _on(_built, monkeypatch):
    monkeypatch.setenv(kernel.VARIABLE, "on")


def without(monkeypatch, function, *arguments):
    """The function's value where JAX computes."""
    with monkeypatch.context() as context:
        context.setenv(kernel.VARIABLE, "off")
        return function(*arguments)


def update_of(architecture, theta=None):
    theta = trained_theta(architecture) if theta is None else theta
    return lambda grads, state, params, value: architecture.bind(theta, NUM_STEPS).update(
        grads, state, params, value=value
    )


def assert_close(got, want, rtol=3e-5):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.dtype == b.dtype
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        scale = np.abs(b[np.isfinite(b)]).max(initial=0.0)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale)


def gradients(number):
    """Of the step; some broken or too large to be squared, some zero from the start."""
    tree = random_tree(SHAPES, number)
    tree["pages"] = tree["pages"].at[number, :4].set(jnp.array([jnp.nan, jnp.inf, -1e30, 1e4]))
    tree["small 3"] = 1e-15 * tree["small 3"]
    tree["still"] = jnp.zeros(6)
    tree["bfloat16"] = tree["bfloat16"].astype(jnp.bfloat16)
    return tree


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=["default", "wide", "deep"])
def test_an_update_is_that_of_jax(architecture, monkeypatch):
    shapes = SHAPES if architecture is ARCHITECTURES[0] else {name: SHAPES[name] for name in ("bfloat16", "pages")}
    cut = lambda tree: {name: tree[name] for name in shapes}  # noqa: E731
    params = cut(random_tree(SHAPES, 0))
    params["bfloat16"] = params["bfloat16"].astype(jnp.bfloat16)
    state = jax.jit(architecture.bind(trained_theta(architecture), NUM_STEPS).init)(params)
    by_kernel, by_jax = jax.jit(update_of(architecture)), jax.jit(update_of(architecture))
    for number in range(3):
        arguments = cut(gradients(number)), state, params, jnp.float32(2.0 - number)
        got = by_kernel(*arguments)
        updates, state = without(monkeypatch, by_jax, *arguments)
        assert_close(got[0], updates, rtol=3e-5)
        assert_close(got[1], state)
        params = jax.tree.map(lambda a, b: a + b, params, updates)


def start(architecture=ARCHITECTURES[0], lanes=None):
    """(theta, gradients, state, parameters, loss) of a few tensors; with lanes all but the gradients differ by lanes."""
    theta, grads, params = trained_theta(architecture), random_tree(FEW, 1), random_tree(FEW, 0)
    if lanes:
        spread = lambda leaf: jnp.stack([leaf * (1.0 + 0.1 * lane) for lane in range(lanes)])  # noqa: E731
        theta, params = jax.tree.map(spread, (theta, params))
    init = lambda theta, params: architecture.bind(theta, NUM_STEPS).init(params)  # noqa: E731
    state = jax.jit(jax.vmap(init) if lanes else init)(theta, params)
    return theta, grads, state, params, jnp.float32(2.0)


def step(theta, grads, state, params, value):
    updates, state = ARCHITECTURES[0].bind(theta, NUM_STEPS).update(grads, state, params, value=value)
    return state, jax.tree.map(jnp.add, params, updates)


def test_lanes_are_a_loop():
    theta, grads, state, params, value = start(lanes=3)
    got = jax.jit(jax.vmap(step, in_axes=(0, None, 0, 0, None)))(theta, grads, state, params, value)
    one = jax.jit(step)
    for lane in range(3):
        arguments = jax.tree.map(lambda leaf, lane=lane: leaf[lane], (theta, state, params))
        want = one(arguments[0], grads, *arguments[1:], value)
        assert_close(jax.tree.map(lambda leaf, lane=lane: leaf[lane], got), want, rtol=2e-6)


def test_a_scan_with_donated_state_is_single_steps():
    """Nothing that is still needed is overwritten: neither by the loop nor by a call of which all arguments stay."""
    theta, grads, state, params, value = start()

    def run(state, params):
        def body(carry, _):
            return step(theta, grads, *carry, value), carry

        return jax.lax.scan(body, (state, params), length=3)

    one, before = jax.jit(step), jax.tree.map(np.array, (state, params))
    carry, carries = (state, params), []
    for _ in range(3):
        carries.append(carry)
        carry = one(theta, grads, *carry, value)
    assert_close((state, params), before, rtol=0)
    assert_close(step(theta, grads, state, params, value), carries[1], rtol=2e-6)  # outside of a program
    last, history = jax.jit(run, donate_argnums=(0, 1))(*jax.tree.map(jnp.array, before))
    assert_close(last, carry, rtol=2e-6)
    assert_close(history, jax.tree.map(lambda *leaves: jnp.stack(leaves), *carries), rtol=2e-6)


def test_derivatives_are_those_of_jax(monkeypatch):
    theta, grads, state, params, value = start()

    def loss(theta):
        @jax.checkpoint
        def body(carry, _):
            return step(theta, grads, *carry, value), None

        (_, last), _ = jax.lax.scan(body, (state, params), length=2)
        return sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(last))

    def derivatives(theta):
        return jax.grad(loss)(theta), jax.jvp(loss, (theta,), (theta,))

    got = jax.jit(derivatives)(theta)
    want = without(monkeypatch, jax.jit(lambda theta: derivatives(theta)), theta)
    assert_close(got, want, rtol=1e-4)
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(got[0]["bank"]))


def test_sharded_state_gives_the_same():
    theta, grads, state, params, value = start()
    mesh = jax.make_mesh((len(jax.devices()),), ("model",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("model"))
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    place = lambda tree: jax.device_put(tree, {"bias": everywhere, "kernel": rows})  # noqa: E731
    want = jax.jit(step)(theta, grads, state, params, value)
    got = jax.jit(step)(theta, place(grads), jax.device_put(state, everywhere), place(params), value)
    assert_close(got, want, rtol=2e-6)


THREADS = """
import sys, jax, jax.numpy as jnp, numpy as np
from velo import packing, passes
from tests.velo.test_kernel import thread_work
np.save(sys.argv[1], thread_work())
"""


def thread_work():
    """All that both passes give for tensors of several pieces."""
    shapes = ((3, 40_000), (7,), (50_000,))
    random = np.random.default_rng(0)
    leaves = [jnp.asarray(random.standard_normal(shape), jnp.float32) for shape in shapes]
    layout = packing.Layout(shapes)
    zeros = layout.zeros()
    tree = passes.Tree(leaves, leaves[::1], zeros)
    networks = [{"b": jnp.ones((3, 2)), "w": jnp.ones((3, 2, passes.NUM_PARAMETER_FEATURES))}]
    scales = passes.Scales(jnp.ones(3), jnp.ones(3), jnp.float32(1e-8))

    @jax.jit
    def both():
        averages = passes.Averages((zeros,) * 3, zeros, zeros)
        averages, sums = passes.accumulate(layout, averages, tree, jnp.float32(0.1), jnp.float32(0.2))
        return averages, sums, passes.steps(layout, averages, tree, networks, scales, jnp.float32(0.1), 1.0)

    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(both())])


def test_threads_change_no_bit(tmp_path):
    path = tmp_path / "out.npy"
    environment = {**os.environ, "NPROC": "3", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", THREADS, str(path)], check=True, cwd=ROOT, env=environment)
    np.testing.assert_array_equal(np.load(path), thread_work())


def test_there_are_hardly_temporaries():
    shapes = [(512, 512)] * 3 + [(512,)] * 4
    program, _ = compiled(shapes)
    assert program.memory_analysis().temp_size_in_bytes < 5 * sum(int(np.prod(shape)) for shape in shapes)


def test_what_is_used_is_said(monkeypatch, tmp_path, capsys):
    assert kernel.in_use() and main(["kernel"]) == 0 and capsys.readouterr().out.startswith("in use: ")
    monkeypatch.setenv(kernel.VARIABLE, "off")
    assert not kernel.in_use() and kernel.describe().startswith("not in use: ")
    monkeypatch.setenv(kernel.VARIABLE, "yes")
    with pytest.raises(ValueError, match="VELO_KERNEL must be one of auto, on, off, got 'yes'"):
        kernel.in_use()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(kernel.VARIABLE, "auto")
    assert not kernel.in_use() and kernel.describe().startswith("not built: ")
    monkeypatch.setenv(kernel.VARIABLE, "on")
    with pytest.raises(ValueError, match="run `python -m velo kernel build`"):
        kernel.in_use()


@pytest.mark.parametrize(("compiler", "message"), [("false", "could not be built"), ("no-such-compiler", "no-such")])
def test_a_failed_build_leaves_nothing(compiler, message, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", compiler)
    assert main(["kernel", "build"]) == 2
    assert message in capsys.readouterr().err
    assert not kernel.library_path().exists()
