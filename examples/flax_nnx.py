"""A classifier of digits with Flax NNX. Usage: python examples/flax_nnx.py [WEIGHTS]"""

import digits
import optax
from flax import nnx


def main(num_steps=digits.NUM_STEPS):
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(nnx.Linear(64, 64, rngs=rngs), nnx.relu, nnx.Linear(64, 10, rngs=rngs))
    optimizer = nnx.Optimizer(model, digits.optimizer(num_steps), wrt=nnx.Param)

    def loss_fn(model, images, labels):
        return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()

    @nnx.jit
    def step(model, optimizer, images, labels):
        loss, grads = nnx.value_and_grad(loss_fn)(model, images, labels)
        optimizer.update(model, grads, value=loss)
        return loss

    losses = [step(model, optimizer, *batch) for batch in digits.batches(num_steps)]
    return digits.tell(losses, model)


if __name__ == "__main__":
    main()
