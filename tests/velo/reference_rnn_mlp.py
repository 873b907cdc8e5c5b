"""RNNMLP again, slowly and in float64 NumPy, written from 2009.11243 and tensor by tensor, for the tests."""

import numpy as np

DECAYS = (0.5, 0.9, 0.99, 0.999, 0.9999)
TIMESCALES = (1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000, 100000)


def log_abs(x):
    return np.clip(np.log(1e-8 + np.abs(x)), -5, 5)


class RNNMLP:
    """Holds a list of parameter arrays and moves them."""

    def __init__(self, theta, params):
        self.theta = theta
        self.params = [np.asarray(param, float) for param in params]
        self.momenta = [np.zeros((*param.shape, 5)) for param in self.params]
        self.squares = [np.zeros((*param.shape, 5)) for param in self.params]
        self.hidden = [theta["initial_hidden"]] * len(params)
        self.cell = [theta["initial_cell"]] * len(params)
        self.from_mlp = [theta["initial_from_mlp"]] * len(params)
        self.from_lstm = theta["initial_from_lstm"]
        self.loss_mean = self.loss_variance = 0.0
        self.size = 0.01
        self.count = 0

    def update(self, grads, loss):
        self.loss_mean = 0.9 * self.loss_mean + 0.1 * loss
        self.loss_variance = 0.9 * self.loss_variance + 0.1 * (self.loss_mean - loss) ** 2
        limit = 10 * self.size / (1 - 0.99 ** (self.count + 1))
        grads = [np.clip(np.asarray(grad, float), -limit, limit) for grad in grads]
        mean_square = np.mean([np.mean(grad**2) for grad in grads])
        self.size = 0.99 * self.size + 0.01 * np.sqrt(1e-8 + mean_square)
        for index, grad in enumerate(grads):
            for place, decay in enumerate(DECAYS):
                momentum, square = self.momenta[index], self.squares[index]
                momentum[..., place] = decay * momentum[..., place] + (1 - decay) * grad
                square[..., place] = decay * square[..., place] + (1 - decay) * grad**2
        hiddens = [self.recur(index, grad, loss) for index, grad in enumerate(grads)]
        self.move(grads, hiddens)
        self.from_lstm = np.mean([linear(self.theta["to_lstm"], hidden) for hidden in hiddens], axis=0)
        self.count += 1

    def loss_feature(self, loss):
        weight = 1 / (1 - 0.9 ** (self.count + 1) + 1e-8)
        return np.clip((loss - weight * self.loss_mean) / np.sqrt(weight * self.loss_variance + 1e-8), -5, 5)

    def recur(self, index, grad, loss):
        """One step of the LSTM of one tensor; its inputs are listed by name, as the reference sorts them."""
        param, momentum, square = self.params[index], self.momenta[index], self.squares[index]
        own = {
            "from_lstm": self.from_lstm,
            "from_mlp": self.from_mlp[index],
            "g_norm": log_abs(np.linalg.norm(grad.ravel())),
            "is_scalar": 1.0 if param.ndim == 0 else -1.0,
            "mean_ms_mag": log_abs(momentum.mean()),
            "mean_ms_sign": np.sign(momentum.mean()),
            "mean_rms": log_abs(square.mean()),
            "mean_sign": np.sign(square.mean()),
            "mean_v_mag": log_abs(param.mean()),
            "mean_v_sign": np.sign(param.mean()),
            "norm_weight": log_abs(np.linalg.norm(param.ravel())),
            "shape": np.log((*param.shape, 1, 1, 1, 1)[:4]) - 1,
            "train_loss_feat": self.loss_feature(loss),
            "valid_loss_feat": self.loss_feature(0.0),
            "var_ms": log_abs(momentum.var()),
            "var_rms": log_abs(square.var()),
            "var_v": log_abs(param.var()),
        }
        x = np.concatenate([np.atleast_1d(own[name]) for name in sorted(own)])
        gates = linear(self.theta["lstm"], np.concatenate([x, self.hidden[index]]))
        update, candidate, forget, output = np.split(gates, 4)
        cell = sigmoid(forget + 1) * self.cell[index] + sigmoid(update) * np.tanh(candidate)
        self.cell[index], self.hidden[index] = cell, sigmoid(output) * np.tanh(cell)
        return self.hidden[index]

    def move(self, grads, hiddens):
        """The per-parameter network, parameter by parameter."""
        for index, (grad, hidden) in enumerate(zip(grads, hiddens, strict=True)):
            param = self.params[index]
            momentum, square = (x[index].reshape(param.size, 5) for x in (self.momenta, self.squares))
            root = 1 / np.sqrt(square + 1e-6)
            own = {
                "flat_g": grad.reshape(-1, 1),
                "flat_v": param.reshape(-1, 1),
                "log_abs_v": np.log(np.abs(param.reshape(-1, 1)) + 1e-8),
                "m": momentum,
                "rms": square,
                "rms_scaled_g": momentum * root,
                "rsqrt": root,
            }
            x = np.concatenate([own[name] for name in sorted(own)], axis=1)
            x = x / np.sqrt(1e-5 + np.mean(x**2, axis=0, keepdims=True))
            context = [np.sin(self.count / (scale * np.pi)) for scale in TIMESCALES]
            context += [np.log(len(grads)) - 1, np.log(np.linalg.norm(param.ravel()) + 1e-8), np.log(param.size)]
            context = np.concatenate([context, linear(self.theta["to_mlp"], hidden)])
            outputs = np.stack([self.network(np.concatenate([row, context])) for row in x])
            step = outputs[:, 0] * np.exp(0.001 * outputs[:, 1]) * 0.001
            self.params[index] = param - step.reshape(param.shape)
            self.from_mlp[index] = outputs[:, 2:].mean(axis=0)

    def network(self, x):
        *hidden, last = self.theta["network"]
        for layer in hidden:
            x = np.maximum(layer["w"] @ x + layer["b"], 0)
        return last["w"] @ x + last["b"]


def linear(layer, x):
    return x @ layer["w"] + layer["b"]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))
