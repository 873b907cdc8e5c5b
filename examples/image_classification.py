"""A convolutional network with batch norm and dropout. Usage: python image_classification.py [WEIGHTS]"""

import digits
import jax
import jax.numpy as jnp
import optax
from flax import linen

import velo


class Network(linen.Module):
    width: int = 16

    @linen.compact
    def __call__(self, images, train):
        x = images.reshape(-1, 8, 8, 1)
        for width in (self.width, 2 * self.width):
            x = linen.relu(linen.BatchNorm(use_running_average=not train)(linen.Conv(width, (3, 3), strides=2)(x)))
        x = linen.Dropout(0.1, deterministic=not train)(x.reshape(len(x), -1))
        return linen.Dense(10)(x)


def main(num_steps=digits.NUM_STEPS, width=16):
    model = Network(width)
    images, labels = digits.load()
    train_images, train_labels, test_images, test_labels = images[:1500], labels[:1500], images[1500:], labels[1500:]
    variables = model.init(jax.random.key(0), images[:1], train=False)

    def loss_fn(params, averages, batch, key):
        images, labels = batch
        variables = {"params": params, "batch_stats": averages}
        logits, changed = model.apply(variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": key})
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        accuracy = jnp.mean(jnp.argmax(logits, axis=1) == labels)
        return loss, (changed["batch_stats"], {"accuracy": accuracy})

    @jax.jit
    def evaluate(params, averages):
        logits = model.apply({"params": params, "batch_stats": averages}, test_images, train=False)
        return {"test accuracy": jnp.mean(jnp.argmax(logits, axis=1) == test_labels)}

    def batch(step):  # a function of the step: a resumed run sees the same batches
        rows = jax.random.choice(jax.random.fold_in(jax.random.key(1), step), len(train_labels), (128,))
        return train_images[rows], train_labels[rows]

    fitted = velo.fit(
        loss_fn,
        variables["params"],
        batch,
        num_steps,
        weights=digits.weights(),
        has_aux=True,
        model_state=variables["batch_stats"],
        key=jax.random.key(2),
        evaluate=evaluate,
    )
    print(fitted.history)
    return fitted


if __name__ == "__main__":
    main().history.plot("image_classification.png")
