"""Data parallelism on eight simulated devices, then sharded parameters too. Usage: python eight_devices.py [WEIGHTS]"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")  # before JAX is imported

import digits
import jax
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import velo


def predict(params, images):
    return jax.nn.relu(images @ params["hidden"]) @ params["output"]


def loss_fn(params, batch):
    images, labels = batch
    return optax.softmax_cross_entropy_with_integer_labels(predict(params, images), labels).mean()


def main(num_steps=300):
    key_hidden, key_output = jax.random.split(jax.random.key(0))
    params = {
        "hidden": jax.random.normal(key_hidden, (64, 64)) / 8,
        "output": jax.random.normal(key_output, (64, 10)) / 8,
    }

    # `devices=` shards each batch over all devices and replicates the parameters.
    fitted = velo.fit(
        loss_fn, params, digits.batches(num_steps), num_steps, weights=digits.weights(), devices=jax.devices()
    )
    digits.tell(fitted.history.losses, lambda images: predict(fitted.params, images))

    # To shard the parameters too, place them; the optimizer's state and every step then have their sharding.
    mesh = Mesh(np.array(jax.devices()), ("model",))
    columns = NamedSharding(mesh, PartitionSpec(None, "model"))
    rows = NamedSharding(mesh, PartitionSpec("model", None))
    placed = {"hidden": jax.device_put(params["hidden"], columns), "output": jax.device_put(params["output"], rows)}
    divided = velo.fit(loss_fn, placed, digits.batches(num_steps), num_steps, weights=digits.weights())
    print("hidden layer:", divided.params["hidden"].sharding.spec, divided.history)
    return fitted, divided


if __name__ == "__main__":
    main()
