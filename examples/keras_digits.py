"""A classifier of digits in Keras on JAX. Usage: KERAS_BACKEND=jax python keras_digits.py [WEIGHTS]"""

import digits
import keras

import velo.keras


def main(num_epochs=20):
    images, labels = digits.load()
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10)])
    num_steps = num_epochs * -(-len(images) // digits.BATCH_SIZE)
    model.compile(
        optimizer=velo.keras.VeLO(num_steps, digits.weights()),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    velo.keras.pass_loss(model)
    history = model.fit(images, labels, digits.BATCH_SIZE, num_epochs, verbose=0)
    return digits.tell(history.history["loss"], lambda images: model.predict(images, verbose=0))


if __name__ == "__main__":
    main()
