"""A classifier of digits in plain JAX. Usage: python examples/plain_jax.py [WEIGHTS]"""

import digits
import jax
import jax.numpy as jnp
import optax


def main(num_steps=digits.NUM_STEPS):
    key_hidden, key_output = jax.random.split(jax.random.key(0))
    params = {
        "hidden": {"w": jax.random.normal(key_hidden, (64, 64)) / 8, "b": jnp.zeros(64)},
        "output": {"w": jax.random.normal(key_output, (64, 10)) / 8, "b": jnp.zeros(10)},
    }
    tx = digits.optimizer(num_steps)
    state = tx.init(params)

    def predict(params, images):
        hidden = jax.nn.relu(images @ params["hidden"]["w"] + params["hidden"]["b"])
        return hidden @ params["output"]["w"] + params["output"]["b"]

    def loss_fn(params, images, labels):
        return optax.softmax_cross_entropy_with_integer_labels(predict(params, images), labels).mean()

    @jax.jit
    def step(params, state, images, labels):
        loss, grads = jax.value_and_grad(loss_fn)(params, images, labels)
        updates, state = tx.update(grads, state, params, value=loss)
        return optax.apply_updates(params, updates), state, loss

    losses = []
    for images, labels in digits.batches(num_steps):
        params, state, loss = step(params, state, images, labels)
        losses.append(loss)
    return digits.tell(losses, lambda images: predict(params, images))


if __name__ == "__main__":
    main()
