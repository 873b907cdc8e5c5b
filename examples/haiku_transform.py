"""A classifier of digits with Haiku. Usage: python examples/haiku_transform.py [WEIGHTS]"""

import digits
import haiku as hk
import jax
import optax


def main(num_steps=digits.NUM_STEPS):
    network = hk.without_apply_rng(hk.transform(lambda images: hk.nets.MLP([64, 10])(images)))
    images, _ = next(digits.batches(1))
    params = network.init(jax.random.key(0), images)
    tx = digits.optimizer(num_steps)
    state = tx.init(params)

    def loss_fn(params, images, labels):
        return optax.softmax_cross_entropy_with_integer_labels(network.apply(params, images), labels).mean()

    @jax.jit
    def step(params, state, images, labels):
        loss, grads = jax.value_and_grad(loss_fn)(params, images, labels)
        updates, state = tx.update(grads, state, params, value=loss)
        return optax.apply_updates(params, updates), state, loss

    losses = []
    for batch in digits.batches(num_steps):
        params, state, loss = step(params, state, *batch)
        losses.append(loss)
    return digits.tell(losses, lambda images: network.apply(params, images))


if __name__ == "__main__":
    main()
