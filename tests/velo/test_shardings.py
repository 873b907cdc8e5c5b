"""Parameters divided over a mesh: same numbers, the state where they are, and nothing but small sums exchanged."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import velo
from tests.velo.collectives import collectives
from tests.velo.registry import random_tree, theta_of, use_kernel
from velo.architectures.velo import matrices

NUM_STEPS = 10
NUM_UPDATES = 3
MAX_SUMS = 24
"""Maximum number of sums per tensor in one operation; the compiler joins some operations."""
ARCHITECTURES = {
    basis: velo.VeLO(lstm_size=4, num_mixtures=2, basis=basis, max_side=8, refresh_every=2)
    for basis in ("elementwise", "kronecker")
}
SHAPES = {"embedding": (64, 32), "up": (32, 64), "bias": (64,), "down": (64, 32), "gain": (5,), "scale": ()}
"""Parts of all placings have the blocks that the whole tensors have: sides are multiples of 8."""
BOTH = ("data", "model")
PLACINGS = {
    "fully sharded": {"embedding": (BOTH,), "up": (None, BOTH), "bias": (BOTH,), "down": (BOTH,)},
    "tensor parallel": {"embedding": ("model",), "up": (None, "model"), "bias": ("model",), "down": ("model",)},
    "rows and columns": {"embedding": BOTH, "up": BOTH, "down": ("model", "data")},
}
needs_eight = pytest.mark.skipif(len(jax.devices()) != 8, reason="the test session has no eight host devices")


def mesh(kind=jax.sharding.AxisType.Auto):
    return jax.make_mesh((2, 4), BOTH, axis_types=(kind,) * 2)


def shardings(placing, on=None):
    on, placed = on or mesh(), {}
    for name, shape in SHAPES.items():
        axes = PLACINGS[placing].get(name, ())
        placed[name] = NamedSharding(on, PartitionSpec(*axes, *[None] * (len(shape) - len(axes))))
    return placed


def optimizer(basis, **options):
    return velo.optimizer(NUM_STEPS, (ARCHITECTURES[basis], theta_of(ARCHITECTURES[basis])), **options)


def step(tx):
    def one(grads, state, params, value):
        updates, state = tx.update(grads, state, params, value=value)
        return optax.apply_updates(params, updates), state

    return one


def gradients(number):
    return random_tree(SHAPES, 1 + number)


def run(update, params, state, place=lambda tree: tree):
    for number in range(NUM_UPDATES):
        params, state = update(place(gradients(number)), state, params, jnp.float32(2.0 - number))
    return params, state


@functools.cache
def packed(basis):
    """Parameters after the updates on one device."""
    tx, params = optimizer(basis), random_tree(SHAPES, 0)
    return run(jax.jit(step(tx)), params, tx.init(params))[0]


def assert_close(got, want):
    """Equal up to rounding; the parameters themselves moved at least two hundred times as far."""
    moved = jax.tree.map(lambda leaf, start: float(jnp.abs(leaf - start).max()), want, random_tree(SHAPES, 0))
    assert min(moved.values()) > 1e-4
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=5e-7), got, want)


def assert_placed(tree, placing):
    same = jax.tree.map(lambda leaf, place: leaf.sharding.is_equivalent_to(place, leaf.ndim), tree, placing)
    assert all(jax.tree.leaves(same))


@needs_eight
@pytest.mark.parametrize("placing", PLACINGS)
@pytest.mark.parametrize("basis", ARCHITECTURES)
def test_devices_exchange_small_sums_alone(basis, placing):
    """Also: every buffer is donated, the state keeps its placement, and it survives saving and loading."""
    place = functools.partial(jax.device_put, device=shardings(placing))
    tx = optimizer(basis, shardings=shardings(placing))
    params = place(random_tree(SHAPES, 0))
    state = jax.jit(tx.init)(params)
    lowered = jax.jit(step(tx), donate_argnums=(1, 2)).lower(place(gradients(0)), state, params, jnp.float32(2.0))
    compiled = lowered.compile()
    found = collectives(compiled.as_text())
    assert {one.kind for one in found} == {"all-reduce"}
    assert max(one.size for one in found) <= 4 * MAX_SUMS * len(SHAPES)
    held = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves((params, state)))
    assert compiled.memory_analysis().alias_size_in_bytes == held
    places = jax.tree.map(lambda leaf: leaf.sharding, state)
    num_parts = 4 if placing == "tensor parallel" else 8
    pages = state.learned.initial_params.sharding
    assert pages.shard_shape((num_parts,)) == (1,)
    saved = jax.tree.map(np.asarray, state)  # before it is donated
    got, state = run(compiled, params, state, place)
    assert_placed(state, places)
    assert_close(got, packed(basis))
    again, _ = run(compiled, place(random_tree(SHAPES, 0)), jax.device_put(saved, places), place)
    jax.tree.map(np.testing.assert_array_equal, again, got)


@needs_eight
def test_compiler_s_division_gathers():
    """Shows that the bound above catches gathers; it would also hold for programs without sharded parameters."""
    place = functools.partial(jax.device_put, device=shardings("fully sharded"))
    tx, params = optimizer("elementwise"), place(random_tree(SHAPES, 0))
    update = jax.jit(step(tx), out_shardings=(shardings("fully sharded"), None))
    text = update.lower(place(gradients(0)), tx.init(params), params, jnp.float32(2.0)).compile().as_text()
    assert sum(one.size for one in collectives(text) if one.kind != "all-reduce") > 4 * 64 * 32


@needs_eight
def test_wrappers_options_and_explicit_axes():
    """Decay, a horizon, a mask, a chain and a mesh with Explicit axes, all at once, as on one device."""

    def make(**options):
        tx = optimizer("elementwise", weight_decay=0.01, horizon=NUM_STEPS // 2, max_distance=1.0, **options)
        mask = {name: name != "gain" for name in SHAPES}
        return optax.chain(optax.masked(tx, mask, mask_compatible_extra_args=True), optax.scale(0.5))

    explicit = mesh(jax.sharding.AxisType.Explicit)
    placing = shardings("rows and columns", explicit)
    plain, divided = make(), make(shardings=placing)
    params = random_tree(SHAPES, 0)
    want, _ = run(jax.jit(step(plain)), params, plain.init(params))
    place = functools.partial(jax.device_put, device=placing)
    with jax.set_mesh(explicit):
        update = jax.jit(step(divided))
        got, _ = run(update, place(params), jax.jit(divided.init)(place(params)), place)
    assert update._cache_size() == 1
    assert_placed(got, placing)
    assert_close(got, want)


@needs_eight
def test_the_kernel_runs_on_parts(monkeypatch):
    use_kernel(monkeypatch)
    tx = optimizer("elementwise", shardings=shardings("fully sharded"))
    place = functools.partial(jax.device_put, device=shardings("fully sharded"))
    params = place(random_tree(SHAPES, 0))
    got, _ = run(jax.jit(step(tx)), params, jax.jit(tx.init)(params), place)
    assert_close(got, packed("elementwise"))


@pytest.mark.parametrize(
    ("shape", "part", "expected"),
    [
        ((512, 512), (64, 512), (4, 64, 128)),  # a block stays in its part
        ((1024, 1024), (128, 1024), (8, 128, 128)),  # as without parts
        ((1024, 1024), (2, 1024), (1, 2, 1024)),  # columns, far longer than the rows of the part: left alone
        ((4096, 64), (512, 64), (1, 512, 64)),  # rows are left alone as those of the whole are
        ((64, 4, 16), (8, 4, 16), (1, 8, 64)),  # the whole tensor says which axes are rows
        ((64, 512), (64, 512), (4, 64, 128)),
    ],
)
def test_blocks_of_parts(shape, part, expected):
    view = matrices.view(shape, 128, None, part)
    assert view is not None
    assert (view.count, view.rows, view.columns) == expected
    leaf = jnp.arange(float(np.prod(part))).reshape(part)
    np.testing.assert_array_equal(view.join(view.split(leaf)), leaf)


def test_a_part_is_left_alone_if_the_whole_is():
    assert matrices.view((8192, 64), 128, None, (64, 64)) is None


@needs_eight
def test_a_state_of_another_division_is_refused():
    """Even a state of the same shapes whose shards are in another order."""
    params = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), random_tree(SHAPES, 0))
    rows = shardings("fully sharded")
    other = {**rows, "up": NamedSharding(mesh(), PartitionSpec(None, ("model", "data")))}

    def update(params, first, then):
        state = optimizer("elementwise", shardings=first).init(params)
        return optimizer("elementwise", shardings=then).update(params, state, params, value=jnp.float32(1.0))

    for then in (other, shardings("tensor parallel"), None):
        with pytest.raises(ValueError, match=r"other shapes: call .* anew when the network, or shardings=, changes"):
            jax.eval_shape(functools.partial(update, first=rows, then=then), params)
    assert jax.eval_shape(functools.partial(update, first=rows, then=shardings("fully sharded")), params)


def test_mistakes_are_named():
    params, placing = random_tree(SHAPES, 0), shardings("fully sharded")

    def refused(message, architecture=ARCHITECTURES["elementwise"], **changed):
        weights = architecture, theta_of(architecture)
        with pytest.raises(ValueError, match=re.escape(message)):
            velo.optimizer(NUM_STEPS, weights, shardings={**placing, **changed}).init(params)

    refused("shardings: at ['up'] a jax.sharding.NamedSharding is needed, got", up=PartitionSpec("data"))
    refused("shardings has to be a tree like the parameters", more=placing["up"])
    refused("shardings: ['gain'] of shape (5,) can't be divided", gain=placing["bias"])
    other = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("model",))
    refused("shardings: all have to be of one mesh; ['up'] is on", up=NamedSharding(other, PartitionSpec()))
    refused("shardings: Celo2 can't be divided by them", velo.Celo2(mlp_width=4))
