"""Parameters divided over the devices of two processes give the losses of one process with as many devices."""

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


def losses(*arguments):
    """Those that processes with these arguments print, all of them started before the first is waited for."""
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(started(*own)) for own in arguments]
        ends = [process.communicate(timeout=900) for process in processes]
    for process, (_, errors) in zip(processes, ends, strict=True):
        assert process.returncode == 0, errors
    lines = [output.splitlines()[-1] for output, _ in ends]  # below what gloo writes
    return [[float.fromhex(number) for number in line.split()] for line in lines]


@contextlib.contextmanager
def started(*arguments):
    command = [sys.executable, "-m", "tests.velo.several_processes", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, "JAX_PLATFORMS": "cpu"}, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_two_processes_are_one():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    first, second, alone = losses((port, 0, 2), (port, 1, 2), (0, 0, 1))
    assert first == second
    assert alone[-1] < 0.999 * alone[0]
    np.testing.assert_allclose(first, alone, rtol=1e-6)
