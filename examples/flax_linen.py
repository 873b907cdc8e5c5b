"""A classifier of digits with Flax linen and its TrainState. Usage: python examples/flax_linen.py [WEIGHTS]"""

import digits
import jax
import optax
from flax import linen
from flax.training import train_state


class TrainState(train_state.TrainState):
    """Flax's own `apply_gradients` has no place for the loss."""

    def apply_loss_and_gradients(self, loss, grads):
        updates, opt_state = self.tx.update(grads, self.opt_state, self.params, value=loss)
        params = optax.apply_updates(self.params, updates)
        return self.replace(step=self.step + 1, params=params, opt_state=opt_state)


def main(num_steps=digits.NUM_STEPS):
    model = linen.Sequential([linen.Dense(64), linen.relu, linen.Dense(10)])
    images, _ = next(digits.batches(1))
    params = model.init(jax.random.key(0), images)
    state = TrainState.create(apply_fn=model.apply, params=params, tx=digits.optimizer(num_steps))

    def loss_fn(params, images, labels):
        return optax.softmax_cross_entropy_with_integer_labels(model.apply(params, images), labels).mean()

    @jax.jit
    def step(state, images, labels):
        loss, grads = jax.value_and_grad(loss_fn)(state.params, images, labels)
        return state.apply_loss_and_gradients(loss, grads), loss

    losses = []
    for batch in digits.batches(num_steps):
        state, loss = step(state, *batch)
        losses.append(loss)
    return digits.tell(losses, lambda images: model.apply(state.params, images))


if __name__ == "__main__":
    main()
