"""A run of VeLO whose parameters are divided over the devices of several processes.

Usage: python -m tests.velo.several_processes PORT PROCESS NUM_PROCESSES; four devices in all. Prints the losses, each
as its exact hexadecimal number.
"""

import os
import sys

NUM_DEVICES = 4
NUM_STEPS = 6


def main(port: int, process: int, num_processes: int) -> list[str]:
    """The losses of the run; a process alone needs no port."""
    os.environ["XLA_FLAGS"] = (
        f"--xla_force_host_platform_device_count={NUM_DEVICES // num_processes} --xla_backend_optimization_level=1"
    )
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax
    from jax.sharding import NamedSharding, PartitionSpec

    import velo
    from tests.velo.registry import theta_of

    # With it, one process sometimes waited for the other without an end.
    jax.config.update("jax_enable_compilation_cache", False)
    if num_processes > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"localhost:{port}", num_processes, process)
    assert jax.device_count() == NUM_DEVICES
    assert jax.local_device_count() == NUM_DEVICES // num_processes
    mesh = jax.make_mesh((2, 2), ("rows", "columns"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    specs = {
        "hidden": PartitionSpec(None, ("rows", "columns")),
        "bias": PartitionSpec(("rows", "columns")),
        "output": PartitionSpec("rows", "columns"),
    }
    shardings = {name: NamedSharding(mesh, spec) for name, spec in specs.items()}
    random = np.random.default_rng(0)
    whole = {
        "hidden": random.standard_normal((16, 32)) / 4,
        "bias": np.zeros(32),
        "output": random.standard_normal((32, 8)) / 6,
    }
    inputs, targets = random.standard_normal((2, 24, 16)).astype(np.float32)
    params = {
        name: jax.make_array_from_callback(
            array.shape, shardings[name], lambda index, array=array: array[index].astype(np.float32)
        )
        for name, array in whole.items()
    }
    architecture = velo.VeLO(lstm_size=4, num_mixtures=2, max_side=8, refresh_every=3)
    tx = velo.optimizer(NUM_STEPS, (architecture, theta_of(architecture)), shardings=shardings)

    def loss_fn(params):
        hidden = jnp.tanh(inputs @ params["hidden"] + params["bias"][None])
        return jnp.mean(jnp.square(hidden @ params["output"] - targets[:, :8]))

    def step(params, state):
        loss, grads = jax.value_and_grad(loss_fn)(params)
        updates, state = tx.update(grads, state, params, value=loss)
        return optax.apply_updates(params, updates), state, loss

    state = jax.jit(tx.init)(params)
    assert state.learned.averages.momenta[0].sharding.spec == PartitionSpec(("rows", "columns"))
    compiled = jax.jit(step, donate_argnums=(0, 1))
    losses = []
    for _ in range(NUM_STEPS):
        params, state, loss = compiled(params, state)
        losses.append(float(loss).hex())
    return losses


if __name__ == "__main__":
    sys.stdout.write(" ".join(main(*map(int, sys.argv[1:]))) + "\n")
