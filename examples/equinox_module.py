"""A classifier of digits with Equinox. Usage: python examples/equinox_module.py [WEIGHTS]"""

import digits
import equinox as eqx
import jax
import optax


def main(num_steps=digits.NUM_STEPS):
    model = eqx.nn.MLP(64, 10, width_size=64, depth=1, key=jax.random.key(0))
    tx = digits.optimizer(num_steps)
    state = tx.init(eqx.filter(model, eqx.is_inexact_array))

    def loss_fn(model, images, labels):
        return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(images), labels).mean()

    @eqx.filter_jit
    def step(model, state, images, labels):
        loss, grads = eqx.filter_value_and_grad(loss_fn)(model, images, labels)
        params = eqx.filter(model, eqx.is_inexact_array)
        updates, state = tx.update(grads, state, params, value=loss)
        return eqx.apply_updates(model, updates), state, loss

    losses = []
    for batch in digits.batches(num_steps):
        model, state, loss = step(model, state, *batch)
        losses.append(loss)
    return digits.tell(losses, jax.vmap(model))


if __name__ == "__main__":
    main()
