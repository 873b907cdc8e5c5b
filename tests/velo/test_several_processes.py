"""Parameters divided over the devices of two processes give the losses of one process with as many devices."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np


def start(port, process, num_processes):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.velo.several_processes", str(port), str(process), str(num_processes)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def losses(processes):
    """Those that each process printed."""
    try:
        ends = [process.communicate(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, errors) in zip(processes, ends, strict=True):
        assert process.returncode == 0, errors
    lines = [output.splitlines()[-1] for output, _ in ends]  # below what gloo writes
    return [[float.fromhex(number) for number in line.split()] for line in lines]


def test_two_processes_are_one():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    first, second, alone = losses([start(port, 0, 2), start(port, 1, 2), start(0, 0, 1)])
    assert first == second
    assert alone[-1] < 0.999 * alone[0]
    np.testing.assert_allclose(first, alone, rtol=1e-6)
