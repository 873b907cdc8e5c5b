"""SOAP and Shampoo of one tensor in float64 NumPy, in the order of their published code."""

import numpy as np


class SlowSoap:
    """The authors' loop for a matrix, or for a vector (plain Adam); `step` returns the step subtracted at rate 1."""

    def __init__(self, shape, *, b1, b2, shampoo_beta, eps, precondition_frequency, max_side):
        self.b1, self.b2, self.beta, self.eps = b1, b2, shampoo_beta, eps
        self.frequency = precondition_frequency
        self.turned = [side <= max_side for side in shape] if len(shape) == 2 else [False, False]
        self.mean, self.square, self.count = np.zeros(shape), np.zeros(shape), 0
        self.factors = [np.zeros((side, side)) for side in shape]
        self.bases = None

    def project(self, tensor):
        if self.turned[0]:
            tensor = self.bases[0].T @ tensor
        return tensor @ self.bases[1] if self.turned[1] else tensor

    def project_back(self, tensor):
        if self.turned[0]:
            tensor = self.bases[0] @ tensor
        return tensor @ self.bases[1].T if self.turned[1] else tensor

    def update_factors(self, grad):
        if any(self.turned):
            products = grad @ grad.T, grad.T @ grad
            self.factors = [self.beta * f + (1 - self.beta) * p for f, p in zip(self.factors, products, strict=True)]

    def step(self, grad):
        if self.bases is None:
            self.update_factors(grad)
            self.bases = [np.linalg.eigh(factor)[1][:, ::-1] for factor in self.factors]
            return np.zeros_like(grad)
        turned = self.project(grad)
        self.count += 1
        self.mean = self.b1 * self.mean + (1 - self.b1) * turned
        self.square = self.b2 * self.square + (1 - self.b2) * turned**2
        size = np.sqrt(1 - self.b2**self.count) / (1 - self.b1**self.count)
        step = size * self.project_back(self.mean / (np.sqrt(self.square) + self.eps))
        straight = self.project_back(self.mean)
        self.update_factors(grad)
        if self.count % self.frequency == 0:
            for axis, turned in enumerate(self.turned):
                if turned:
                    basis, factor = self.bases[axis], self.factors[axis]
                    order = np.argsort(-np.diag(basis.T @ factor @ basis))
                    self.square = self.square.take(order, axis)
                    self.bases[axis] = np.linalg.qr(factor @ basis[:, order])[0]
        self.mean = self.project(straight)
        return step


class SlowShampoo:
    """Distributed Shampoo's loop for a tensor of at most two axes with Adam grafted."""

    def __init__(self, shape, *, b1, b2, eps, precondition_frequency, max_side):
        self.b1, self.b2, self.eps, self.frequency = b1, b2, eps, precondition_frequency
        self.sided = [side <= max_side for side in shape]
        self.mean, self.square, self.count = np.zeros(shape), np.zeros(shape), 0
        self.factors = [np.zeros((side, side)) for side in shape]
        self.roots = None

    def root(self, factor):
        values, vectors = np.linalg.eigh(factor / (1 - self.b2**self.count))
        damped = values + 1e-6 * values.max() + 1e-12
        return vectors @ np.diag(damped ** (-1 / (2 * len(self.sided)))) @ vectors.T

    def step(self, grad):
        self.count += 1
        self.mean = self.b1 * self.mean + (1 - self.b1) * grad
        self.square = self.b2 * self.square + (1 - self.b2) * grad**2
        products = (grad @ grad.T, grad.T @ grad) if grad.ndim == 2 else (np.multiply.outer(grad, grad),) * grad.ndim
        self.factors = [self.b2 * f + (1 - self.b2) * p for f, p in zip(self.factors, products, strict=True)]
        if self.count % self.frequency == 0:
            self.roots = [self.root(factor) for factor in self.factors]
        mean = self.mean / (1 - self.b1**self.count)
        adam = mean / (np.sqrt(self.square / (1 - self.b2**self.count)) + self.eps)
        if self.count < self.frequency or not self.sided:
            return adam
        step = mean
        if self.sided[0]:
            step = self.roots[0] @ step
        if len(self.sided) == 2 and self.sided[1]:
            step = step @ self.roots[1]
        return np.linalg.norm(adam) / np.linalg.norm(step) * step
