"""State, FLOP and memory per device for up to seven billion parameters, from formulas: nothing is allocated.

    python benchmarks/model_size.py

The models have the shapes of LLaMA. Every tensor's longest axis is sharded over 8 or 64 devices.
`tests/velo/test_model_size.py` checks the formulas against the states and programs of a small tree.
"""

import math

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

import velo
from velo.architectures.lstm import LSTMState
from velo.architectures.pages import Layout
from velo.architectures.velo import matrices, shards
from velo.architectures.velo.architecture import VeLO

Shape = tuple[int, ...]
MODELS = {"100M": (768, 2048, 12), "1B": (2048, 5632, 18), "7B": (4096, 11008, 32)}
"""Width, width of the MLP, number of layers; the vocabulary has 32,000 tokens."""
VOCABULARY = 32000
DEVICES = (8, 64)
FLOAT = 4
ADAM_FLOP = 12
BATCH_TOKENS = 500_000
ELEMENTWISE_ARRAYS = 6
"""Numbers per parameter: three momenta, the second moment, Prodigy's sum, the initial parameter."""
ORIGINAL_ARRAYS = 3
"""Further numbers per parameter of a rotated tensor: Adam's averages in the original coordinates."""
ELEMENTWISE_FLOP = 248
"""FLOP per parameter and step, counted in the lowered program; two thirds are the MLP's products."""
ROTATIONS = 3
"""Matrix products per rotated side and step: the gradient into the basis, the step out of it, the factor."""
TURNED_ARRAYS = 5
"""Arrays that a refresh rotates: three momenta, Prodigy's sum, the gradient."""
REFRESH_PRODUCTS = 5
"""Products of matrices of a basis's size in a refresh: U^T A U takes two, Q U one, and keeping Q orthonormal two. The
QR costs about two more."""
QR_PRODUCTS = 2


def llama(width: int, hidden: int, depth: int) -> list[Shape]:
    """Shapes of the tensors; the output is not tied to the embedding."""
    layer = [(width, width)] * 4 + [(width, hidden)] * 2 + [(hidden, width)] + [(width,)] * 2
    return [(VOCABULARY, width), *layer * depth, (width,), (width, VOCABULARY)]


def fully_sharded(shapes: list[Shape], num_devices: int) -> list[NamedSharding]:
    """Shards every tensor's longest axis over all devices."""
    mesh = jax.sharding.AbstractMesh((num_devices,), ("data",))
    longest = (shape.index(max(shape)) for shape in shapes)
    return [NamedSharding(mesh, PartitionSpec(*[None] * place, "data")) for place in longest]


def layout_of(shapes: list[Shape], num_devices: int = 1) -> Layout:
    """The layout of the whole tensors, or of the parts that one device holds."""
    if num_devices == 1:
        return Layout(tuple(shapes))
    params = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return shards.divide(fully_sharded(shapes, num_devices), params)[0].layout


def plan_of(architecture: VeLO, layout: Layout) -> matrices.Plan:
    """Which tensors and sides are rotated into the eigenbasis."""
    if not architecture.has_basis:
        return matrices.Plan((None,) * len(layout.shapes))
    axes = [None] * len(layout.shapes)
    return matrices.plan(layout.whole_shapes, architecture.max_side, axes, layout.shapes)


def state_bytes(architecture: VeLO, layout: Layout) -> int:
    """Bytes of the state on a device, except for a few numbers per tensor."""
    plan = plan_of(architecture, layout)
    of_turned = layout.subset(plan.turned_tensors)
    pages = ELEMENTWISE_ARRAYS * layout.num_pages + ORIGINAL_ARRAYS * of_turned.num_pages
    bases = sum(count * size**2 for count, size in plan.stacks)
    lstm = len(LSTMState._fields) * architecture.lstm_size * len(layout.shapes)
    return FLOAT * (pages * layout.page_size + 2 * bases + lstm)


def step_flop(architecture: VeLO, layout: Layout) -> dict[str, float]:
    """Floating-point operations of a step's passes and rotations, of one refresh without its QR, and of that QR."""
    plan = plan_of(architecture, layout)
    rotations = 0
    for view in plan.views:
        if view is not None:
            sides = sum(side for side, turned in zip((view.rows, view.columns), view.turned, strict=True) if turned)
            rotations += 2 * math.prod(view.shape) * sides
    bases = sum(2 * count * size**3 for count, size in plan.stacks)
    return {
        "passes": ELEMENTWISE_FLOP * float(layout.sizes.sum()),
        "rotations": float(ROTATIONS * rotations),
        "refresh": float(TURNED_ARRAYS * rotations + REFRESH_PRODUCTS * bases),
        "qr": float(QR_PRODUCTS * bases),
    }


def main():
    light, default = (velo.load_weights(path)[0] for path in (velo.weights.LIGHT_WEIGHTS, velo.weights.DEFAULT_WEIGHTS))
    print(f"a parameter: bytes of the state, FLOP of an update, its share beside a batch of {BATCH_TOKENS:,} tokens")
    for name, sizes in MODELS.items():
        shapes = llama(*sizes)
        layout = layout_of(shapes)
        count = int(layout.sizes.sum())
        print(f"{name}: {count:.3g} parameters in {len(shapes)} tensors")
        print(f"  {'Adam':14s} {2 * FLOAT:5.1f} B  {ADAM_FLOP:6d} FLOP")
        for label, architecture in (("VeLO, light", light), ("VeLO, default", default)):
            flop = step_flop(architecture, layout)
            total = flop["passes"] + flop["rotations"] + (flop["refresh"] + flop["qr"]) / architecture.refresh_every
            share = total / (6 * count * BATCH_TOKENS)
            turned = sum(layout.sizes[plan_of(architecture, layout).turned]) / count
            size = state_bytes(architecture, layout) / count
            print(f"  {label:14s} {size:5.1f} B  {total / count:6.0f} FLOP, {share:.2%}; {turned:.0%} turned")
    print("GiB on a device of parameters, gradients and state in float32")
    for name, sizes in MODELS.items():
        shapes = llama(*sizes)
        for num_devices in DEVICES:
            layout = layout_of(shapes, num_devices)
            held = 2 * FLOAT * int(layout.sizes.sum())
            sizes_of_states = {"Adam": held, "VeLO, light": state_bytes(light, layout)}
            sizes_of_states["VeLO, default"] = state_bytes(default, layout)
            cells = (f"{label} {(held + size) / 2**30:.2f}" for label, size in sizes_of_states.items())
            print(f"  {name:5s}{num_devices:4d} devices", *cells, sep="   ")


if __name__ == "__main__":
    main()
