"""A network trained on the digits 0 to 4, then only its last layer on 5 to 9. Usage: python fine_tuning.py [WEIGHTS]"""

import digits
import jax
import jax.numpy as jnp
import numpy as np
import optax

import velo


def predict(params, images):
    return jax.nn.relu(images @ params["body"]["w"] + params["body"]["b"]) @ params["head"]["w"] + params["head"]["b"]


def loss_fn(params, batch):
    images, labels = batch
    return optax.softmax_cross_entropy_with_integer_labels(predict(params, images), labels % 5).mean()


def batches(classes):
    images, labels = digits.load()
    rng = np.random.default_rng(0)
    rows = np.flatnonzero(np.isin(labels, classes))
    while True:
        chosen = rng.choice(rows, digits.BATCH_SIZE)
        yield images[chosen], labels[chosen]


def main(num_steps=300):
    key_body, key_head, key_new = jax.random.split(jax.random.key(0), 3)
    params = {
        "body": {"w": jax.random.normal(key_body, (64, 64)) / 8, "b": jnp.zeros(64)},
        "head": {"w": jax.random.normal(key_head, (64, 5)) / 8, "b": jnp.zeros(5)},
    }
    trained = velo.fit(loss_fn, params, batches(range(5)), num_steps, weights=digits.weights()).params

    start = trained | {"head": {"w": jax.random.normal(key_new, (64, 5)) / 8, "b": jnp.zeros(5)}}
    tx = optax.partition(
        {"trained": digits.optimizer(num_steps), "frozen": optax.set_to_zero()}, {"body": "frozen", "head": "trained"}
    )
    tuned = velo.fit(loss_fn, start, batches(range(5, 10)), num_steps, tx=tx)
    print(tuned.history)
    return trained, tuned.params


if __name__ == "__main__":
    main()
