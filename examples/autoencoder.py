"""An autoencoder of digits with a code of eight numbers, and a picture. Usage: python autoencoder.py [WEIGHTS]"""

import digits
import jax
import jax.numpy as jnp
from matplotlib.figure import Figure

import velo

SIZES = (64, 64, 8, 64, 64)


def reconstruct(params, images):
    x = images
    for index, layer in enumerate(params):
        x = x @ layer["w"] + layer["b"]
        x = x if index == len(params) - 1 else jax.nn.gelu(x)
    return x


def loss_fn(params, batch):
    images, _ = batch
    return jnp.mean(jnp.square(reconstruct(params, images) - images))


def main(num_steps=1000, picture="autoencoder.png"):
    keys = jax.random.split(jax.random.key(0), len(SIZES) - 1)
    params = [
        {"w": jax.random.normal(key, (inputs, outputs)) * inputs**-0.5, "b": jnp.zeros(outputs)}
        for key, inputs, outputs in zip(keys, SIZES[:-1], SIZES[1:], strict=True)
    ]
    fitted = velo.fit(loss_fn, params, digits.batches(num_steps), num_steps, weights=digits.weights())
    print(fitted.history)
    images, _ = digits.load()
    figure = Figure(figsize=(8, 2.2), layout="constrained")
    for column, axes in enumerate(figure.subplots(2, 10).T):
        for axis, image in zip(axes, (images[column], reconstruct(fitted.params, images[column])), strict=True):
            axis.imshow(image.reshape(8, 8), cmap="gray_r", vmin=-1, vmax=1)
            axis.axis("off")
    figure.savefig(picture)
    return fitted


if __name__ == "__main__":
    main()
