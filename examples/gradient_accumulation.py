"""Batches of 1,024 in eight parts of 128, to save memory. Usage: python gradient_accumulation.py [WEIGHTS]

A learned optimizer reads the loss beside the gradient, so both have to be averaged over the parts: in the loss, as
`in_parts` does here, or between the updates, as `velo.optimizer(..., horizon=...)` does for runs beyond the length that
weights were meta-trained for. `optax.MultiSteps` would pass on the loss of the last part alone.
"""

import digits
import jax
import jax.numpy as jnp
import optax

import velo

PARTS = 8


def predict(params, images):
    return jax.nn.relu(images @ params["hidden"]) @ params["output"]


def loss_fn(params, batch):
    images, labels = batch
    return optax.softmax_cross_entropy_with_integer_labels(predict(params, images), labels).mean()


def in_parts(loss_fn):
    """The mean of `loss_fn` over the leading axis of the batch; memory holds the activations of one part at a time."""

    def whole(params, parts):
        remembered = jax.checkpoint(loss_fn)
        _, losses = jax.lax.scan(lambda carry, part: (carry, remembered(params, part)), None, parts)
        return losses.mean()

    return whole


def main(num_steps=200):
    key_hidden, key_output = jax.random.split(jax.random.key(0))
    params = {
        "hidden": jax.random.normal(key_hidden, (64, 64)) / 8,
        "output": jax.random.normal(key_output, (64, 10)) / 8,
    }
    parts = digits.batches(num_steps * PARTS)
    batches = (
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *[next(parts) for _ in range(PARTS)]) for _ in range(num_steps)
    )
    fitted = velo.fit(in_parts(loss_fn), params, batches, num_steps, weights=digits.weights())
    digits.tell(fitted.history.losses, lambda images: predict(fitted.params, images))
    return fitted


if __name__ == "__main__":
    main()
