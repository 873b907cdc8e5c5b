"""The 83 tasks of `velodrome`: frozen, apart from meta-training, of many kinds; they run."""

import hashlib
import runpy
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from rich.console import Console

from evaluation import Contender, Evaluation, OneShot, baselines, run
from tasks import fixed, mixture, velodrome
from tasks.fixed import FixedTask
from tests.tasks.test_fixed import mixture_datasets

SAMPLER = Path(__file__).parents[2] / "benchmarks" / "sample_velodrome.py"
DIGEST = "321d1b68214f1765dfc33f9730450424ebdab3852f8220fc895f5644fb16cb62"
FAMILIES = [family for _, family, _ in velodrome.TASKS]
SIZES = (
    "batch_size", "channel_mlp_width", "channels", "embedding_size", "latent_size", "patch_mlp_width", "width",
    "widths",
)  # fmt: skip


def test_the_table_is_frozen():
    """Results on it are comparable for as long as it stays."""
    digest = hashlib.sha256("\n".join(map(repr, velodrome.TASKS)).encode()).hexdigest()
    assert digest == DIGEST, (
        "a task of velodrome changed: put it back. If a family has a new field whose default leaves these tasks as "
        "they were, say so in the commit and take the new digest."
    )


def test_the_sampler_gives_the_table():
    assert tuple(runpy.run_path(str(SAMPLER))["sample"]()) == velodrome.TASKS


def test_there_are_83_of_many_kinds_and_some_of_no_mixture():
    assert len(velodrome.TASKS) == len(set(FAMILIES)) == 83
    kinds = {type(family) for family in FAMILIES}
    assert len(kinds) == 20
    sampled = {family for family, _ in cast(Any, mixture.MIXTURES["broad"]).families}
    assert len(kinds & sampled) == 17
    assert all(500 <= num_steps <= 3000 for *_, num_steps in velodrome.TASKS)


@pytest.mark.parametrize("name", fixed.SUITES["velodrome"])
def test_data_and_sizes_are_of_no_mixture(name):
    family = fixed.TASKS[name].family
    assert family.dataset not in set(mixture_datasets())
    for field in SIZES:
        for size in np.ravel(vars(family).get(field, ())):
            assert int(size).bit_count() > 1, f"{field}={size} is a power of two, as mixtures sample them"


def test_two_tasks_run_and_their_report_has_the_picture(tmp_path):
    tasks = tuple(
        FixedTask(name, fixed.TASKS[name].family, 4) for name in ("v05_mlp_wine", "v82_quadratic")
    )  # fmt: skip
    contenders = tuple(
        Contender(name, baselines.get(name), tuner=OneShot()) for name in ("prodigy_cosine", "adam")
    )  # fmt: skip
    evaluation = Evaluation(
        contenders=contenders, tasks=tasks, num_seeds=1, stretch=1, num_checkpoints=1, num_valid_batches=1
    )
    run(evaluation, tmp_path, console=Console(quiet=True))
    lines = (tmp_path / "figures" / "speed-ups.csv").read_text().splitlines()
    assert lines[0] == "optimizer,place,task,speed_up"
    assert len(lines) == 1 + 2 * 2
    assert "figures/speed-ups.png" in (tmp_path / "report.md").read_text()
