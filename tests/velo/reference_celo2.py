"""Celo2 again, slowly and in float64 NumPy, written from 2602.19142 and tensor by tensor, for the tests."""

import math

import numpy as np


class Tensor:
    """Averages of one matrix or higher tensor, and its steps."""

    def __init__(self, layers, shape):
        self.layers = layers
        self.momenta = {decay: np.zeros(shape) for decay in (0.9, 0.99, 0.999)}
        self.square = np.zeros(shape)
        order = np.argsort(shape) if len(shape) > 1 else None
        self.long, self.short = (int(order[-1]), int(order[-2])) if order is not None else (None, None)
        self.rows = dict.fromkeys((0.9, 0.99, 0.999), 0.0)
        self.columns = dict.fromkeys((0.9, 0.99, 0.999), 0.0)
        self.full = dict.fromkeys((0.9, 0.99, 0.999), 0.0)

    def direction(self, grad, weight, orthogonalize):
        grad = np.clip(np.asarray(grad, float), -1000, 1000)
        self.square = 0.95 * self.square + 0.05 * grad**2
        factored, scales = [], []
        for decay, momentum in self.momenta.items():
            self.momenta[decay] = decay * momentum + (1 - decay) * grad
            squares = grad**2 + 1e-30
            if self.long is None:
                self.full[decay] = decay * self.full[decay] + (1 - decay) * squares
                scales.append(1 / np.sqrt(np.maximum(self.full[decay] + 1e-9, 1e-9)))
                continue
            self.rows[decay] = decay * self.rows[decay] + (1 - decay) * squares.mean(self.long, keepdims=True)
            self.columns[decay] = decay * self.columns[decay] + (1 - decay) * squares.mean(self.short, keepdims=True)
            row, column = (np.broadcast_to(x[decay], grad.shape) for x in (self.rows, self.columns))
            mean = self.rows[decay].mean(self.short, keepdims=True)
            scale = 1 / np.sqrt(np.maximum(self.rows[decay] / (mean + 1e-9), 1e-9))
            scales.append(scale / np.sqrt(np.maximum(self.columns[decay], 1e-9)))
            factored.append((row, column))
        momenta = list(self.momenta.values())
        root = 1 / np.sqrt(self.square + 1e-8)
        inputs = [grad, np.clip(grad, -0.1, 0.1), weight, *momenta, self.square, *(m * root for m in momenta), root]
        inputs += [grad * scale for scale in scales] + [grad * root]
        if factored:
            inputs += [row for row, _ in factored] + [column for _, column in factored]
            inputs += [1 / np.sqrt(row + 1e-8) for row, _ in factored]
            inputs += [1 / np.sqrt(column + 1e-8) for _, column in factored]
            inputs += [m * scale for m, scale in zip(momenta, scales, strict=True)]
        x = np.stack([unit(value) for value in inputs], axis=-1)
        for index, layer in enumerate(self.layers):
            x = x @ layer["w"].T[: x.shape[-1]] + layer["b"]
            x = np.maximum(x, 0) if index < len(self.layers) - 1 else x
        step = x[..., 0]
        if orthogonalize and step.ndim > 1:
            flat = step.reshape(-1, *step.shape[-2:])
            step = np.stack([newton_schulz(matrix) for matrix in flat]).reshape(step.shape)
        return unit(step)


def newton_schulz(matrix):
    """Applies the quintic to the singular values; keeps the singular vectors."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    values = values / (np.linalg.norm(matrix) + 1e-8)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return left @ np.diag(values) @ right


def unit(x):
    """Root mean square 1 over the last two dimensions."""
    axes = tuple(range(-min(x.ndim, 2), 0))
    return x / np.sqrt(1e-9 + np.mean(x**2, axis=axes, keepdims=True))


class Adam:
    def __init__(self):
        self.first = self.second = 0.0
        self.count = 0

    def direction(self, grad, *_):
        self.count += 1
        self.first = 0.9 * self.first + 0.1 * grad
        self.second = 0.95 * self.second + 0.05 * grad**2
        root = np.sqrt(self.second / (1 - 0.95**self.count)) + 1e-8
        return self.first / (1 - 0.9**self.count) / root


def rate(count, num_steps, peak, warmup_fraction):
    warmup = max(warmup_fraction * num_steps, 1)
    progress = min(max((count + 1 - warmup) / max(num_steps - warmup, 1), 0), 1)
    return peak * min((count + 1) / warmup, 1) * (0.5 + 0.5 * math.cos(math.pi * progress))
