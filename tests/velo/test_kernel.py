"""The C++ passes are the JAX ones: over odd trees, broken gradients, lanes, loops, derivatives and threads."""

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.velo.registry import use_kernel
from tests.velo.test_update import compiled
from velo.__main__ import main
from velo.architectures.pages import Layout
from velo.architectures.velo import kernel, passes
from velo.architectures.velo.architecture import ELEMENTWISE

ROOT = Path(__file__).parents[2]
SHAPES = {
    "empty": (0, 3),
    "kernel": (3, 3, 2, 5),
    "pages": (40, 33),
    "pieces": (2, 20_000),
    "scalar": (),
    **{f"small {index}": (index % 5 + 1, 7) for index in range(8)},
}
FEW = {"bias": (5,), "kernel": (16, 9)}
NETWORKS = {"default": (4, 4), "other": (7, 2, 1)}


class Arguments(NamedTuple):
    """What the passes read; `networks` are mixed from the bank without an LSTM."""

    averages: passes.Averages
    tree: passes.Tree
    networks: Any
    scales: passes.Scales
    estimate: jax.Array
    rate: jax.Array


def arguments(shapes, widths=(4, 4)):
    """Amid a run, with broken gradients in "pages" and a parameter that never had one in each tensor."""
    random = np.random.default_rng(0)
    layout = Layout(tuple(shapes.values()))
    tensors = lambda: [jnp.asarray(random.standard_normal(shape), jnp.float32) for shape in shapes.values()]  # noqa: E731
    grads, params = tensors(), tensors()
    if "pages" in shapes:
        place = list(shapes).index("pages")
        grads[place] = grads[place].at[1, :4].set(jnp.array([jnp.nan, jnp.inf, -1e30, 1e6]))
    never = [jnp.arange(leaf.size).reshape(leaf.shape) == leaf.size - 1 for leaf in params]
    past = layout.pack([jnp.where(where, 0.0, leaf) for where, leaf in zip(never, tensors(), strict=True)])
    grads = [jnp.where(where, 0.0, leaf) for where, leaf in zip(never, grads, strict=True)]
    sizes = [passes.NUM_PARAMETER_FEATURES, *widths, 2]
    networks = [
        {
            "b": jnp.asarray(random.standard_normal((len(shapes), outputs)), jnp.float32),
            "w": jnp.asarray(random.standard_normal((len(shapes), outputs, inputs)), jnp.float32),
        }
        for inputs, outputs in itertools.pairwise(sizes)
    ]
    per_tensor = jnp.linspace(0.1, 1.0, len(shapes))
    return Arguments(
        passes.Averages((past, 0.5 * past, 0.2 * past), jnp.square(past), past),
        passes.Tree(grads, params, layout.pack(tensors())),
        networks,
        passes.Scales(per_tensor, 1.0 - per_tensor, jnp.float32(1e-8)),
        jnp.float32(0.3),
        jnp.float32(0.1),
    )


def both(arguments, nominal=0.7):
    """(averages, sums, steps)."""
    averages, tree, networks, scales, estimate, rate = arguments
    layout = Layout(tuple(leaf.shape for leaf in tree.params))
    use = kernel.in_use()
    averages, sums = passes.accumulate(layout, ELEMENTWISE, averages, tree, estimate, rate, use_kernel=use)
    steps = passes.steps(layout, ELEMENTWISE, averages, tree, networks, scales, estimate, nominal, use_kernel=use)
    return averages, sums, steps


@pytest.fixture(autouse=True)
def _on(monkeypatch):
    use_kernel(monkeypatch)


def without(monkeypatch, function, *arguments):
    """The function's value computed by JAX, without the kernel."""
    with monkeypatch.context() as context:
        context.setenv(kernel.VARIABLE, "off")
        return function(*arguments)


def assert_close(got, want, rtol=3e-5):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.dtype == b.dtype
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        scale = np.abs(b[np.isfinite(b)]).max(initial=0.0)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale)


def compile_anew(function):
    """A new jitted function, to be traced once per path: a traced program keeps the path that it was traced with."""
    return jax.jit(lambda *arguments: function(*arguments))


@pytest.mark.parametrize("widths", NETWORKS.values(), ids=NETWORKS)
def test_the_passes_are_those_of_jax(widths, monkeypatch):
    given = arguments(SHAPES if widths == NETWORKS["default"] else FEW, widths)
    assert_close(compile_anew(both)(given), without(monkeypatch, compile_anew(both), given), rtol=2e-5)


def test_lanes_are_a_loop():
    """With a theta for each lane, and gradients that all share."""
    one = arguments(FEW)
    lanes = jax.tree.map(lambda leaf: jnp.stack([leaf, 1.1 * leaf, -0.9 * jnp.abs(leaf)]), one)
    lanes = lanes._replace(averages=jax.tree.map(jnp.abs, lanes.averages))
    lanes = lanes._replace(tree=lanes.tree._replace(grads=one.tree.grads))
    axes = jax.tree.map(lambda _: 0, lanes)
    axes = axes._replace(tree=axes.tree._replace(grads=[None] * len(FEW)))
    got = jax.jit(jax.vmap(both, in_axes=(axes,)))(lanes)
    alone = jax.jit(both)
    for lane in range(3):
        given = jax.tree.map(lambda leaf, lane=lane: leaf[lane], lanes._replace(tree=lanes.tree._replace(grads=[])))
        given = given._replace(tree=given.tree._replace(grads=one.tree.grads))
        assert_close(jax.tree.map(lambda leaf, lane=lane: leaf[lane], got), alone(given), rtol=0)


def test_nothing_that_is_needed_is_overwritten():
    """By calls in a loop, with donation and without, and outside of a program."""
    given = arguments(FEW)
    before = jax.tree.map(np.array, given)

    def run(averages, given):
        def body(averages, _):
            new, sums, steps = both(given._replace(averages=averages))
            return new, (averages, sums, steps)

        return jax.lax.scan(body, averages, length=3)

    one, averages, rows = jax.jit(both), given.averages, []
    for _ in range(3):
        new, sums, steps = one(given._replace(averages=averages))
        rows.append((averages, sums, steps))
        averages = new
    assert_close(given, before, rtol=0)
    assert_close(both(given), (rows[1][0], *rows[0][1:]), rtol=0)
    got = jax.jit(run, donate_argnums=0)(jax.tree.map(jnp.array, before.averages), given)
    assert_close(got, (averages, jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)), rtol=0)


def test_derivatives_are_those_of_jax(monkeypatch):
    given = arguments({"bias": (5,)}, (2,))

    def derivatives(given):
        def loss(networks, rate):
            averages, sums, steps = jax.checkpoint(both)(given._replace(networks=networks, rate=rate))
            return sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves((averages, sums, steps)))

        theta = (given.networks, given.rate)
        return jax.grad(loss, argnums=(0, 1))(*theta), jax.jvp(loss, theta, theta)

    got, want = compile_anew(derivatives)(given), without(monkeypatch, compile_anew(derivatives), given)
    assert_close(got, want, rtol=1e-4)
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(got[0]))


def test_sharded_arrays_give_the_same():
    given = arguments(FEW)
    mesh = jax.make_mesh((len(jax.devices()),), ("model",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("model"))
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    spread = jax.tree.map(
        lambda leaf: jax.device_put(
            leaf, rows if leaf.shape and leaf.shape[0] % len(jax.devices()) == 0 else everywhere
        ),
        given,
    )
    assert_close(jax.jit(both)(spread), jax.jit(both)(given), rtol=0)


THREADS = """
import sys
import numpy as np
from tests.velo.test_kernel import thread_work
np.save(sys.argv[1], thread_work())
"""


def thread_work():
    """All results of both passes, for tensors that are split into several pieces."""
    results = jax.jit(both)(arguments({"large": (3, 40_000), "small": (7,), "next": (50_000,)}))
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(results)])


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
