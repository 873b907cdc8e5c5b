"""Which tensors are matrices, on shapes and on the parameters of Flax's layers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import velo
from velo.architectures.velo import matrices
from velo.architectures.velo.matrices import MatrixAxes

MAX_SIDE = 256


def seen(shape, axes=None, max_side=MAX_SIDE):
    """(matrices, rows, columns, whether the left side is rotated, whether the right side is), or None."""
    view = matrices.view(shape, max_side, axes)
    return None if view is None else (view.count, view.rows, view.columns, *view.turned)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((), None),
        ((7,), None),
        ((1, 7), None),
        ((0, 3), None),
        ((48, 30), (1, 48, 30, True, True)),
        ((3, 3, 16, 32), (1, 144, 32, True, True)),  # a convolution
        ((5, 16, 32), (1, 80, 32, True, True)),  # along one axis
        ((3, 3, 1, 64), (1, 9, 64, True, True)),  # depthwise
        ((64, 4, 16), (1, 64, 64, True, True)),  # attention: queries, keys and values
        ((4, 16, 64), (1, 64, 64, True, True)),  # attention: output
        ((64, 3, 4, 16), (1, 64, 192, True, True)),  # attention: all three in one
        ((2048, 16), None),  # a large embedding
        ((16, 2048), None),  # a vocabulary
        ((5, 5, 64, 64), (1, 1600, 64, False, True)),  # a convolution of large kernels
        ((4096, 11008), (688, 256, 256, True, True)),  # wide layers too
        ((521, 257), None),  # no side fits
        ((512, 300), (4, 256, 150, True, True)),  # blocks of either side
        ((512, 257), (2, 256, 257, True, False)),  # a prime has no blocks
    ],
)
def test_shapes_are_read_as_the_table_says(shape, expected):
    assert seen(shape) == expected


def test_a_long_matrix_is_turned_on_its_small_side_if_its_axes_are_named():
    assert seen((2048, 16), MatrixAxes((0,), (1,))) == (1, 2048, 16, False, True)
    assert seen((16, 2048), MatrixAxes((0,), (1,))) == (1, 16, 2048, True, False)
    assert seen((50304, 4096), MatrixAxes((0,), (1,))) == (16, 50304, 256, False, True)


def test_stacked_layers_are_told_by_their_axes():
    assert seen((6, 48, 30)) == (1, 288, 30, False, True)  # without a word: one tall matrix
    assert seen((6, 48, 30), MatrixAxes((1,), (2,))) == (6, 48, 30, True, True)
    assert seen((6, 48, 30), MatrixAxes((-2,), (-1,))) == (6, 48, 30, True, True)
    assert seen((48, 6, 30), MatrixAxes((2,), (0,))) == (6, 30, 48, True, True)
    assert seen((48, 30), MatrixAxes((), ())) is None


@pytest.mark.parametrize("axes", [MatrixAxes((0,), (0,)), MatrixAxes((2,), (1,)), MatrixAxes((0,), (-2,))])
def test_wrong_axes_are_named(axes):
    with pytest.raises(ValueError, match="matrix_axes: each axis must be one of 2 and named once"):
        matrices.view((4, 5), MAX_SIDE, axes)


@pytest.mark.parametrize(
    ("shape", "axes", "max_side"),
    [((6, 4), None, 8), ((2, 3, 4, 5), None, 8), ((8, 12), None, 4), ((4, 3, 6), MatrixAxes((2,), (0,)), 8)],
)
def test_splitting_and_joining_are_inverses(shape, axes, max_side):
    view = matrices.view(shape, max_side, axes)
    leaf = jnp.arange(float(np.prod(shape))).reshape(shape)
    split = view.split(leaf)
    assert split.shape == (view.count, view.rows, view.columns)
    np.testing.assert_array_equal(view.join(split), leaf)


def test_blocks_are_blocks_of_the_matrix():
    view = matrices.view((4, 6), 3, None)
    assert (view.count, view.rows, view.columns) == (4, 2, 3)
    leaf = jnp.arange(24.0).reshape(4, 6)
    np.testing.assert_array_equal(view.split(leaf)[1], leaf[:2, 3:])


def test_equal_shapes_share_a_group_and_equal_sides_a_stack():
    plan = matrices.plan([(8, 6), (5,), (8, 6), (6, 4)], MAX_SIDE, [None] * 4)
    assert [group.tensors for group in plan.groups] == [(0, 2), (3,)]
    assert plan.stacks == ((1, 4), (3, 6), (2, 8))
    leaves = [jnp.full(shape, float(number)) for number, shape in enumerate([(8, 6), (5,), (8, 6), (6, 4)])]
    for back, leaf in zip(plan.scatter(plan.gather(leaves), leaves), leaves, strict=True):
        np.testing.assert_array_equal(back, leaf)
    sums = plan.by_tensor([jnp.sum(group, axis=(1, 2)) for group in plan.gather(leaves)])
    np.testing.assert_allclose(sums, [0.0, 0.0, 96.0, 72.0])


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(8, (3, 3))(x).reshape(x.shape[0], -1, 8)
        x = nn.MultiHeadDotProductAttention(num_heads=2, qkv_features=8)(x)
        return nn.Dense(5)(x)


class NNX(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.conv = nnx.Conv(4, 8, (3, 3), rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 8, 8, rngs=rngs, decode=False)
        self.linear = nnx.Linear(8, 5, rngs=rngs)


def kernels(params):
    """(matrices, rows, columns) of each tensor that has some, by its path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    paths = {jax.tree_util.keystr(path, simple=True, separator="/"): seen(leaf.shape) for path, leaf in leaves}
    return {path: view[:3] for path, view in paths.items() if view is not None}


def test_the_layers_of_flax_linen():
    params = Linen().init(jax.random.key(0), jnp.zeros((1, 4, 4, 4)))["params"]
    attention = {
        f"MultiHeadDotProductAttention_0/{name}/kernel": (1, 8, 8) for name in ("query", "key", "value", "out")
    }
    biases = {f"MultiHeadDotProductAttention_0/{name}/bias": (1, 2, 4) for name in ("query", "key", "value")}
    assert kernels(params) == {"Conv_0/kernel": (1, 36, 8), "Dense_0/kernel": (1, 8, 5), **attention, **biases}


def test_the_layers_of_flax_nnx():
    params = nnx.to_pure_dict(nnx.state(NNX(), nnx.Param))
    attention = {f"attention/{name}/kernel": (1, 8, 8) for name in ("query", "key", "value", "out")}
    biases = {f"attention/{name}/bias": (1, 2, 4) for name in ("query", "key", "value")}
    assert kernels(params) == {"conv/kernel": (1, 36, 8), "linear/kernel": (1, 8, 5), **attention, **biases}


def test_axes_come_as_a_tree_a_prefix_or_a_function():
    params = {"stack": {"a": jnp.zeros((3, 4, 5)), "b": jnp.zeros((3, 4, 6))}, "dense": jnp.zeros((4, 5))}
    layers = MatrixAxes((1,), (2,))
    expected = [None, layers, layers]
    assert matrices.flatten_axes({"stack": layers, "dense": None}, params) == expected
    assert matrices.flatten_axes({"stack": {"a": layers, "b": layers}, "dense": None}, params) == expected
    assert matrices.flatten_axes(lambda params: {"stack": layers, "dense": None}, params) == expected
    assert matrices.flatten_axes(None, params) == [None] * 3


def test_the_optimizer_takes_them():
    """Layers stacked in one tensor get the same updates as separate layers."""
    random = np.random.default_rng(0)
    stacked, grads = (jnp.asarray(random.standard_normal((2, 4, 5)), jnp.float32) for _ in range(2))
    together = velo.optimizer(10, "untrained", matrix_axes=MatrixAxes((1,), (2,)))
    apart = velo.optimizer(10, "untrained")
    moved, _ = together.update(grads, together.init(stacked), stacked, value=1.0)
    layers = [stacked[0], stacked[1]]
    want, _ = apart.update([grads[0], grads[1]], apart.init(layers), layers, value=1.0)
    np.testing.assert_allclose(moved, jnp.stack(want), rtol=2e-4, atol=1e-8)


def test_an_architecture_without_a_basis_refuses_them():
    theta = velo.AdafacMLP().init(jax.random.key(0))
    with pytest.raises(ValueError, match="matrix_axes: AdafacMLP has no basis"):
        velo.optimizer(10, (velo.AdafacMLP(), theta), matrix_axes=MatrixAxes((1,), (2,)))
