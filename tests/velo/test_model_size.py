"""The formulas of `benchmarks/model_size.py` against states and programs of small trees."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding

import velo

FILE = Path(__file__).parents[2] / "benchmarks" / "model_size.py"
SPEC = importlib.util.spec_from_file_location("model_size", FILE)
model_size = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(model_size)

ARCHITECTURES = {
    basis: velo.VeLO(lstm_size=4, num_mixtures=2, max_side=32, basis=basis) for basis in ("elementwise", "kronecker")
}
SHAPES = [(64, 32), (16, 48), (24,), (256, 8)]
each = pytest.mark.parametrize("basis", ARCHITECTURES)


def blank(shapes):
    return [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]


def bound(basis, **options):
    architecture = ARCHITECTURES[basis]
    return architecture.bind(architecture.init(jax.random.key(0)), 100, **options)


@each
def test_bytes_of_the_state(basis):
    state = jax.eval_shape(bound(basis).init, blank(SHAPES))
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    formula = model_size.state_bytes(ARCHITECTURES[basis], model_size.layout_of(SHAPES))
    assert formula < size < formula + 60 * len(SHAPES) + 200


@each
def test_bytes_of_a_device_s_share(basis):
    """Compares with real arrays on eight host devices."""
    if len(jax.devices()) != 8:
        pytest.skip("the test session has no eight host devices")
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    placing = [NamedSharding(mesh, one.spec) for one in model_size.fully_sharded(SHAPES, 8)]
    params = jax.device_put([jnp.ones(shape) for shape in SHAPES], placing)
    state = jax.jit(bound(basis, shardings=placing).init)(params)
    size = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(state))
    formula = model_size.state_bytes(ARCHITECTURES[basis], model_size.layout_of(SHAPES, 8))
    assert formula < size < formula + 60 * len(SHAPES) + 200


@each
@pytest.mark.parametrize("shape", [(64, 64), (128, 48)])
def test_arithmetic_of_a_step(basis, shape):
    """As XLA counts it in the lowered program, whose QR it doesn't know."""

    def update(grads, state, params, value):
        return bound(basis).update(grads, state, params, value=value)

    params = blank([shape])
    arguments = (params, jax.eval_shape(bound(basis).init, params), params, jax.ShapeDtypeStruct((), jnp.float32))
    counted = jax.jit(update).lower(*arguments).cost_analysis()["flops"]
    flop = model_size.step_flop(ARCHITECTURES[basis], model_size.layout_of([shape]))
    formula = flop["passes"] + flop["rotations"] + flop["refresh"]
    assert formula == pytest.approx(counted, rel=0.1)
    assert (flop["rotations"] > flop["passes"]) == (basis == "kronecker")


def test_trees_have_the_sizes_of_their_names():
    counts = {
        name: sum(model_size.layout_of(model_size.llama(*sizes)).sizes) for name, sizes in model_size.MODELS.items()
    }
    assert 6.7e9 < counts["7B"] < 6.8e9
    assert 1.0e9 < counts["1B"] < 1.1e9
