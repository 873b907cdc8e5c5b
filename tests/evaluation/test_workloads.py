import dataclasses

import numpy as np
import pytest

from evaluation.curves import Results
from evaluation.studies import workloads
from evaluation.studies.workloads import Workloads
from tests.evaluation.runs import curve, entry


def _validated(losses, steps=(2, 4, 6)):
    return dataclasses.replace(
        curve(np.ones(6)), valid_steps=np.array(steps), valid_loss=np.array(losses, np.float32)
    )  # fmt: skip


def test_steps_to_a_target_lie_between_checkpoints():
    falling = _validated([3.0, 2.0, 1.0])
    assert workloads.steps_to(falling, 1.5) == pytest.approx(5.0)
    assert workloads.steps_to(falling, 3.5) == 2.0
    assert workloads.steps_to(falling, 0.5) == np.inf
    assert workloads.steps_to(_validated([np.nan, np.nan, 1.0]), 1.5) == 6.0
    assert workloads.steps_to(_validated([3.0, 1.0, 2.0]), 1.0) == pytest.approx(4.0)  # a later rise doesn't count


def test_times_are_medians_over_seeds_to_the_reference_s_best():
    entries = []
    for name, runs in {
        "velo": [[2.0, 1.0, 0.5], [2.0, 1.0, 0.5], [9.0, 9.0, 9.0]],
        "adam": [[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [3.0, 2.0, 1.0]],
        "nadamw_cosine": [[3.0, 2.0, 1.5], [3.0, 2.0, 1.5], [3.0, 2.0, 1.0]],
    }.items():
        one = entry(np.ones((3, 6)), optimizer=name)
        entries.append(dataclasses.replace(one, reported=tuple(_validated(losses) for losses in runs)))
    results = Results(("tiny",), ("velo", "adam", "nadamw_cosine"), "adam", tuple(entries))
    np.testing.assert_allclose(workloads.times_to_target(results), [[4.0, 6.0, np.inf]])
    np.testing.assert_array_equal(workloads._no_later(workloads.times_to_target(results), results), [True])


def test_sizes_and_mistakes():
    assert set(workloads._families(1)) == set(workloads.WORKLOADS)
    assert workloads._families(2)["graph_property"] != workloads._families(1)["graph_property"]
    with pytest.raises(ValueError, match="size must be one of cpu, gpu, got 'tpu'"):
        Workloads(size="tpu")
    with pytest.raises(ValueError, match="workloads must be some of image_resnet"):
        Workloads(workloads=("imagenet",))


def test_with_two_seeds_the_reference_reaches_its_own_target():
    two = tuple(_validated(losses) for losses in ([3.0, 2.0, 1.0], [3.0, 2.0, 1.5]))
    one = dataclasses.replace(entry(np.ones((2, 6)), optimizer="adam"), reported=two)
    times = workloads.times_to_target(Results(("tiny",), ("adam",), "adam", (one,)))
    np.testing.assert_allclose(times, [[5.0]])
