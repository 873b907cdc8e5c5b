"""The benchmarks that start processes of their own run, in their smallest sizes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_scaling(tmp_path):
    sizes = {"parameters": 2e4, "lanes": 4, "inner-steps": 50, "outer-steps": 1, "rounds": 1, "repetitions": 1}
    arguments = [f"--{name}={value}" for name, value in sizes.items()]
    out = tmp_path / "scaling.json"
    command = [sys.executable, ROOT / "benchmarks/scaling.py", "--only", "parameters", "lanes", "workers", *arguments]
    subprocess.run([*command, "--json", out], check=True, capture_output=True, cwd=ROOT)
    rows = json.loads(out.read_text())["results"]
    assert [row["size"] for row in rows if row["what"] == "lanes"] == [2, 4]
    workers = [row for row in rows if row["what"] == "workers"]
    assert [row["size"] for row in workers] == [1, 2]
    assert all(row["contributions_per_second"] > 0 for row in workers)
    assert all(row["cpu_seconds"] > 0 for row in rows)


@pytest.mark.slow
def test_large_run_donates_everything():
    command = [sys.executable, ROOT / "benchmarks/large_run.py", "--only", "VeLO, light", "--num-steps", "2"]
    command += ["--width", "64", "--depth", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    out = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, env=environment).stdout
    assert "donated and reused 100.0%" in out
