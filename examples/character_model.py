"""A recurrent network that learns to write Python, letter by letter. Usage: python character_model.py [WEIGHTS]"""

import argparse
import inspect

import digits
import jax
import jax.numpy as jnp
import numpy as np
import optax

import velo

TEXT = inspect.getsource(argparse)
LETTERS = sorted(set(TEXT))
CODES = np.array([LETTERS.index(letter) for letter in TEXT], np.int32)


def init(key, width):
    shapes = {"embed": (len(LETTERS), width), "gates": (2 * width, 2 * width), "candidate": (2 * width, width)}
    shapes["output"] = (width, len(LETTERS))
    keys = jax.random.split(key, len(shapes))
    kernels = zip(shapes.items(), keys, strict=True)
    return {name: {"w": jax.random.normal(k, s) * s[0] ** -0.5, "b": jnp.zeros(s[1])} for (name, s), k in kernels}


def dense(layer, x):
    return x @ layer["w"] + layer["b"]


def gru(params, hidden, letters):
    """Reads one letter of each text: returns (hidden state, logits of the next letter)."""
    x = params["embed"]["w"][letters]
    update, reset = jnp.split(jax.nn.sigmoid(dense(params["gates"], jnp.concatenate([x, hidden], axis=-1))), 2, axis=-1)
    candidate = jnp.tanh(dense(params["candidate"], jnp.concatenate([x, reset * hidden], axis=-1)))
    hidden = update * hidden + (1.0 - update) * candidate
    return hidden, dense(params["output"], hidden)


def loss_fn(params, letters):
    """Mean cross-entropy in nats per letter; `letters` has shape (batch, length)."""
    hidden = jnp.zeros((len(letters), params["output"]["w"].shape[0]))
    _, logits = jax.lax.scan(lambda hidden, x: gru(params, hidden, x), hidden, letters[:, :-1].T)
    return optax.softmax_cross_entropy_with_integer_labels(logits, letters[:, 1:].T).mean()


def write(params, start, length, key):
    hidden = jnp.zeros((1, params["output"]["w"].shape[0]))
    step = jax.jit(gru)
    written = [LETTERS.index(letter) for letter in start]
    for letter in written:
        hidden, logits = step(params, hidden, jnp.array([letter]))
    for index in range(length):
        written.append(int(jax.random.categorical(jax.random.fold_in(key, index), logits[0] / 0.5)))
        hidden, logits = step(params, hidden, jnp.array([written[-1]]))
    return "".join(LETTERS[letter] for letter in written)


def main(num_steps=2000, width=128, context=64, batch_size=32, sample_length=300):
    def batches():
        rng = np.random.default_rng(0)
        while True:
            starts = rng.integers(len(CODES) - context, size=batch_size)
            yield CODES[starts[:, None] + np.arange(context)[None]]

    params = init(jax.random.key(0), width)
    fitted = velo.fit(loss_fn, params, batches(), num_steps, weights=digits.weights())
    print(fitted.history)
    print(write(fitted.params, "    def ", sample_length, jax.random.key(1)))
    return fitted


if __name__ == "__main__":
    main()
