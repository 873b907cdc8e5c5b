"""K-FAC of small networks in float64 NumPy: forward and backward by hand, one example and one place after the other."""

import numpy as np


def softmax(logits):
    shifted = np.exp(logits - logits.max())
    return shifted / shifted.sum()


def neighbourhood(image, row, column, size, stride):
    """The size x size patch of an image [height, width, channels] that a zero-padded convolution sees, flat."""
    found = np.zeros((size, size, image.shape[2]))
    for i in range(size):
        for j in range(size):
            y, x = row * stride + i - (size - 1) // 2, column * stride + j - (size - 1) // 2
            if 0 <= y < image.shape[0] and 0 <= x < image.shape[1]:
                found[i, j] = image[y, x]
    return found.reshape(-1)


class SlowKfac:
    """A tanh network: an optional convolution with the mean over places after it, then a dense layer, softmax."""

    def __init__(self, *, share, decay, frequency, stride=1):
        self.share, self.decay, self.frequency, self.stride = share, decay, frequency, stride
        self.averages, self.inverses, self.count = None, None, 0

    def places(self, params, image):
        """(inputs of the first layer [places, inputs], its outputs after tanh averaged over the places)."""
        kernel = params["first"]["w"]
        if kernel.ndim == 2:
            inputs = image[None]
        else:
            rows, columns = (-(-side // self.stride) for side in image.shape[:2])
            inputs = np.array(
                [
                    neighbourhood(image, row, column, len(kernel), self.stride)
                    for row in range(rows)
                    for column in range(columns)
                ]
            )
        return inputs, inputs @ kernel.reshape(-1, kernel.shape[-1]) + params["first"]["b"]

    def logits(self, params, image):
        _, outputs = self.places(params, image)
        return np.tanh(outputs).mean(axis=0) @ params["last"]["w"] + params["last"]["b"]

    def backward(self, params, image, label):
        """For one example: {layer: (inputs [places, inputs + 1], gradients by its outputs [places, outputs])}."""
        inputs, outputs = self.places(params, image)
        hidden = np.tanh(outputs)
        last = softmax(self.logits(params, image)) - np.eye(params["last"]["w"].shape[1])[label]
        first = (params["last"]["w"] @ last)[None] / len(hidden) * (1 - hidden**2)
        return {
            "first": (np.c_[inputs, np.ones(len(inputs))], first),
            "last": (np.r_[hidden.mean(axis=0), 1.0][None], last[None]),
        }

    def factors(self, params, images, labels):
        """(A, B) of each layer; the sums over places and their means as in 1602.01407, equations 23 to 28."""
        found = {}
        for image, label in zip(images, labels, strict=True):
            for name, (inputs, gradients) in self.backward(params, image, label).items():
                a = sum(np.outer(row, row) for row in inputs)
                b = sum(np.outer(row, row) for row in gradients) / len(gradients)
                found.setdefault(name, []).append((a, b))
        return {
            name: tuple(np.mean(side, axis=0) for side in zip(*pairs, strict=True)) for name, pairs in found.items()
        }

    def step(self, params, images, labels, uniform):
        """The step subtracted at rate 1; `uniform` [examples, classes] gives the sampled labels by the Gumbel trick."""
        logits = np.array([self.logits(params, image) for image in images])
        new = self.factors(params, images, np.argmax(logits - np.log(-np.log(uniform)), axis=1))
        old = self.averages or dict.fromkeys(new, (0.0, 0.0))
        self.averages = {
            name: tuple(self.decay * o + (1 - self.decay) * n for o, n in zip(old[name], new[name], strict=True))
            for name in new
        }
        self.count += 1
        if (self.count - 1) % self.frequency == 0:
            debiased = {
                name: [side / (1 - self.decay**self.count) for side in sides] for name, sides in self.averages.items()
            }
            self.inverses = {
                name: [np.linalg.inv(side + self.share * np.trace(side) * np.eye(len(side))) for side in sides]
                for name, sides in debiased.items()
            }
        steps = {}
        for name, layer in params.items():
            gradient = 0.0
            for image, label in zip(images, labels, strict=True):
                inputs, gradients = self.backward(params, image, label)[name]
                gradient = gradient + inputs.T @ gradients / len(images)
            step = self.inverses[name][0] @ gradient @ self.inverses[name][1]
            steps[name] = {"w": step[:-1].reshape(layer["w"].shape), "b": step[-1]}
        return steps
