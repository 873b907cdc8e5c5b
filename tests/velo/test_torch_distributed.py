"""Replicas of a network stay equal to the bit although each has a loss of its own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'velo[torch]'")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Parameters of both ranks, by the process group that their optimizer got."""
    if not torch.distributed.is_available():
        pytest.skip("this PyTorch has no torch.distributed")
    folder = tmp_path_factory.mktemp("replicas")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.velo.replicas", str(rank), str(folder)],
            cwd=ROOT,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for rank in ranks:
        _, errors = rank.communicate(timeout=300)
        assert rank.returncode == 0, errors
    return [np.load(folder / f"{rank}.npz") for rank in range(2)]


@pytest.mark.parametrize("group", ["default", "named"])
def test_replicas_stay_equal(group, trained):
    np.testing.assert_array_equal(trained[0][group], trained[1][group])


def test_averaging_can_be_turned_off(trained):
    assert np.abs(trained[0]["off"] - trained[1]["off"]).max() > 0
