"""Writes the default weights, .3 ninth run + .7 this run: `python docs/runs/tenth/interpolate.py OUT`."""

import sys
from pathlib import Path

import jax

import velo

SHARE = 0.7
"""Of this run."""

runs = Path(__file__).parent.parent
_, ninth = velo.load_weights(runs / "ninth" / "weights.velo")
architecture, tenth = velo.load_weights(runs / "tenth" / "weights.velo")
theta = jax.tree.map(lambda a, b: (1.0 - SHARE) * a + SHARE * b, ninth, tenth)
record = {
    "command": "docs/runs/tenth/command.sh, then docs/runs/tenth/interpolate.py",
    "started_from": "docs/runs: fifth, sixth, .3 untrained + .7 sixth, eighth, ninth",
    "outer_steps": {"fifth": 72, "sixth": 94, "eighth": 80, "ninth": 150, "tenth": 110},
}
velo.save_weights(sys.argv[1], architecture, theta, record, licence="Apache-2.0")
