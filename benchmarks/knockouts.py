"""Knockouts: a trained theta without one of its parts, measured on `meta_valid`.

Nothing is retrained. A part is reset to its value before meta-training, or some inputs of the hypernetwork are fixed at
their usual values. Usage: python benchmarks/knockouts.py OUT [WEIGHTS]
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import velo
from configs import evaluate_command
from velo.architectures.velo.tensor_inputs import BASIS_INPUTS, INPUTS

ALL_INPUTS = (*INPUTS, *BASIS_INPUTS)
BLIND = {"to_the_fraction": (0, 1), "to_the_loss": (1, 2), "to_the_tensors": (3, len(ALL_INPUTS))}
"""Ranges of `ALL_INPUTS`. Without an eigenbasis, theta has no rows for the last ones."""
READERS = ("controls", "log_step", "elementwise")
"""Layers that read the LSTM's hidden state. Those but `controls` also read the inputs; `elementwise` is optional."""


def blind(theta, lstm_size: int, first: int, last: int):
    """`theta` with zero weights for the inputs `ALL_INPUTS[first:last]`, wherever they are read."""
    counts = np.cumsum([0, *(count for count, _, _ in ALL_INPUTS)])
    rows = slice(counts[first], counts[last])
    direct = slice(lstm_size + counts[first], lstm_size + counts[last])
    hypernetwork = dict(theta["hypernetwork"])
    readers = [(name, direct) for name in READERS[1:] if name in hypernetwork]
    for name, hidden in (("input", rows), ("pool", rows), *readers):
        hypernetwork[name] = {**hypernetwork[name], "w": hypernetwork[name]["w"].at[hidden].set(0.0)}
    return {**theta, "hypernetwork": hypernetwork}


def without_lstm(theta, lstm_size: int):
    """`theta` with zero weights for the LSTM's hidden state, wherever it is read."""
    hypernetwork = dict(theta["hypernetwork"])
    for name in (name for name in READERS if name in hypernetwork):
        hypernetwork[name] = {**hypernetwork[name], "w": hypernetwork[name]["w"].at[:lstm_size].set(0.0)}
    return {**theta, "hypernetwork": hypernetwork}


def variants(optimizer: velo.VeLO, theta):
    theta = jax.tree.map(jnp.asarray, theta)
    untrained = optimizer.init(jax.random.key(0))
    hypernetwork = theta["hypernetwork"]
    zero = {name: jax.tree.map(jnp.zeros_like, hypernetwork[name]) for name in ("controls", "log_step")}
    return {
        "full": theta,
        "without_the_bank": {**theta, "bank": untrained["bank"]},
        "without_mixing": {**theta, "hypernetwork": {**hypernetwork, "controls": zero["controls"]}},
        "without_step_sizes": {**theta, "hypernetwork": {**hypernetwork, "log_step": zero["log_step"]}},
        "without_the_lstm": without_lstm(theta, optimizer.lstm_size),
        **{f"blind_{what}": blind(theta, optimizer.lstm_size, *inputs) for what, inputs in BLIND.items()},
    }


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit(f"usage: python {sys.argv[0]} OUT [WEIGHTS]")
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    optimizer, theta = velo.load_weights(sys.argv[2] if len(sys.argv) > 2 else velo.DEFAULT_WEIGHTS)
    names = ["adam@1", "untrained"]
    for name, changed in variants(optimizer, theta).items():
        velo.save_weights(out / f"{name}.velo", optimizer, changed)
        names.append(f"{name}:{out / name}.velo")
    arguments = f"--suite meta_valid --seeds 3 --stretch 1 --optimizers {','.join(names)} --out {out / 'valid'}"
    sys.exit(evaluate_command.main(arguments.split()))


if __name__ == "__main__":
    main()
