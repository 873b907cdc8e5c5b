"""An asynchronous run through everything that can go wrong at once, for VELO_CHAOS_MINUTES (15 unless told)."""

import dataclasses
import os

import jax
import numpy as np
import pytest
from rich.console import Console

import velo
from meta_train import worker
from meta_train.programs import Programs
from meta_train.run import run
from meta_train.run_log import read_metrics

pytest.importorskip("ray.cluster_utils")
from benchmarks import faults

MINUTES = float(os.environ.get("VELO_CHAOS_MINUTES", "15"))
SETTINGS = faults.ASYNCHRONOUS


def meta_loss(weights) -> float:
    """Mean meta-loss on the four tasks, with the keys of four episodes each, the same for every theta."""
    theta = SETTINGS.optimizer.init(jax.random.key(0)) if weights is None else velo.load_weights(weights)[1]
    places = [(step, index) for step in range(4) for index in range(SETTINGS.num_workers)]
    programs = Programs(SETTINGS.estimator)
    found = [worker.compute(SETTINGS, programs, theta, step, step, index, ())[0] for step, index in places]
    return float(np.mean([contribution.loss for contribution in found]))


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.filterwarnings("ignore")
def test_a_run_ends_well_and_accounts_for_every_contribution(tmp_path):
    num_calm = round(4 * MINUTES)
    at_home = dataclasses.replace(SETTINGS.execution, executor="local", mirror=None)
    calm = run(
        dataclasses.replace(SETTINGS, num_steps=num_calm, execution=at_home),
        tmp_path / "calm",
        console=Console(quiet=True),
    )
    path, deeds = faults.chaos(tmp_path, MINUTES)
    out = tmp_path / "chaos"
    print(f"\n{dict(deeds)}: {faults.describe(out)}")  # noqa: T201
    assert faults.violations(out, path) == []
    num_steps = len(read_metrics(out))
    assert faults.account(out)["used"] == num_steps * SETTINGS.num_workers
    assert list((tmp_path / "elsewhere" / "checkpoints").iterdir())

    start, chaotic, calmed = (meta_loss(weights) for weights in (None, path, calm))
    print(f"meta-loss {start:.4f} at the start, {chaotic:.4f} after {num_steps} outer steps in chaos, "  # noqa: T201
          f"{calmed:.4f} after {num_calm} calm ones")  # fmt: skip
    assert calmed < start
    assert start - chaotic > 0.5 * (start - calmed) * min(1.0, num_steps / num_calm)
