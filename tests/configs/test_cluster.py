"""The cluster configurations: they are YAML, and what they start is a command of ours."""

import shlex
from pathlib import Path

import pytest

from configs import meta_train_command
from configs.command_line import parse
from configs.meta_training import PRESETS

yaml = pytest.importorskip("yaml")

FOLDER = Path(__file__).parents[2] / "configs" / "cluster"


def test_the_job_runs_a_preset_and_resumes_it():
    job = yaml.safe_load((FOLDER / "rayjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    _, _, script = shlex.split(job["spec"]["entrypoint"])
    assert "then set -- --resume; fi;" in script
    words = shlex.split(script[script.index("exec velo-meta-train") :])
    name, _, options = parse(PRESETS, words[2:-1], prog="velo", options=meta_train_command.Options())
    assert (name, options.address, options.out) == ("cluster-1", "auto", Path("runs/cluster-1"))
    groups = [job["spec"]["rayClusterSpec"]["headGroupSpec"], *job["spec"]["rayClusterSpec"]["workerGroupSpecs"]]
    for group in groups:
        (container,) = group["template"]["spec"]["containers"]
        assert container["volumeMounts"] == [{"name": "shared", "mountPath": "/shared"}]


def test_the_cluster_of_machines_starts_a_head_and_workers():
    cluster = yaml.safe_load((FOLDER / "ray-cluster.yaml").read_text())
    assert "ray start --head" in cluster["head_start_ray_commands"][-1]
    assert "ray start --address=$RAY_HEAD_IP" in cluster["worker_start_ray_commands"][-1]


def test_each_phase_starts_where_the_last_one_writes():
    phases = [PRESETS[f"cluster-{number}"].settings for number in range(1, 5)]
    assert [phase.start_weights for phase in phases] == [
        None,
        *(f"runs/cluster-{number}/weights.velo" for number in range(1, 4)),
    ]
    assert len({phase.optimizer for phase in phases}) == 1
    assert [phase.outer.accumulate_steps for phase in phases] == [4, 10, 20, 20]
    assert [phase.episodes.max_steps for phase in phases] == [20_000, 20_000, 20_000, 200_000]
