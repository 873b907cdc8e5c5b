"""The clock: what it measures, in which order, on how many cores, and what a report makes of it."""

import dataclasses
import os

import jax
import numpy as np
import pytest
from rich.console import Console

from evaluation import Clock, Contender, Evaluation, OneShot, baselines, clock, run, saved_evaluation
from evaluation.curves import Pace, Results
from evaluation.report import wording
from evaluation.report.content import Content
from evaluation.saved_evaluation import SavedEvaluation
from evaluation.settings import Procedure
from tests.evaluation.runs import TASK, ScaledSGD, entry

OPTIMIZER = ScaledSGD()
EVALUATION = Evaluation(
    contenders=(
        Contender("learned", OPTIMIZER, OPTIMIZER.init(jax.random.key(0))),
        Contender("adam", baselines.get("adam"), tuner=OneShot()),
    ),
    tasks=(TASK,),
    num_seeds=1,
    stretch=1,
    num_checkpoints=2,
    num_valid_batches=1,
)
QUIET = Console(quiet=True)


def test_contenders_take_turns_in_alternating_order_and_the_least_time_counts(monkeypatch):
    calls, seconds = [], iter([3.0, 5.0, 4.0, 2.0, 6.0, 6.0])
    monkeypatch.setattr(clock, "_segment", lambda task, contender, lane, num_steps: contender.name)

    def timed(name):
        calls.append(name)
        taken = next(seconds)
        return taken, 0.75 * taken

    monkeypatch.setattr(clock, "_timed", timed)
    entries = [entry(np.ones((1, 12)), optimizer=contender.name) for contender in EVALUATION.contenders]
    paces = Clock(num_repetitions=3).paces(TASK, EVALUATION.contenders, entries, EVALUATION.procedure)
    assert calls == ["learned", "adam", "adam", "learned", "learned", "adam"]
    assert [pace.seconds_per_step for pace in paces] == [2.0 / 6, 4.0 / 6]  # a segment has six steps
    assert {pace.core_share for pace in paces} == {0.75}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_all_threads_keep_to_one_core_and_get_the_others_back():
    before = os.sched_getaffinity(0)
    with clock.one_core() as core:
        assert core in before
        threads = [int(path.name) for path in clock.THREADS_FOLDER.iterdir()]
        assert {frozenset(os.sched_getaffinity(thread)) for thread in threads} == {frozenset({core})}
    assert os.sched_getaffinity(0) == before


def test_a_clocked_evaluation_keeps_its_times_and_measures_no_task_twice(tmp_path, monkeypatch):
    run(EVALUATION, tmp_path, clock=Clock(2), console=QUIET)
    paces = clock.read(tmp_path)
    assert [pace.optimizer for pace in paces] == ["learned", "adam"]
    assert all(0 < pace.seconds_per_step < 1 for pace in paces)
    assert all(0 < pace.core_share < 1.2 for pace in paces)
    loaded = saved_evaluation.load(tmp_path).results
    assert loaded.paces == paces
    assert loaded.entries[0].seconds_per_step == paces[0].seconds_per_step
    assert "Measured on one core, the optimizers in turns" in (tmp_path / "report.md").read_text()
    monkeypatch.setattr(clock, "_timed", lambda call: pytest.fail("measured again"))
    run(EVALUATION, tmp_path, clock=Clock(2), console=QUIET)
    other = dataclasses.replace(loaded.entries[0].reported[0], key="of other weights")
    changed = dataclasses.replace(loaded.entries[0], reported=(other,), pace=None)
    again = clock.clocked(dataclasses.replace(loaded, entries=(changed, loaded.entries[1])), paces)
    assert again.entries[0].pace is None


def test_a_damaged_record_is_named(tmp_path):
    assert clock.read(tmp_path) == []
    pace = '{"task": "tiny", "optimizer": "adam", "key": "a", "seconds_per_step": %s, "core_share": 1.0}'
    for text in ("", "[]", '{"format": 2}', '{"format": 1, "paces": [{"task": 3}]}', pace % "NaN", pace % '"1"'):
        (tmp_path / clock.FILE_NAME).write_text(f'{{"format": 1, "paces": [{text}]}}' if "key" in text else text)
        with pytest.raises(ValueError, match="is no record of a clock"):
            clock.read(tmp_path)
    (tmp_path / clock.FILE_NAME).write_text(f'{{"format": 1, "paces": [{pace % "0.5"}]}}')
    assert clock.read(tmp_path) == [Pace("tiny", "adam", "a", 0.5, 1.0)]
    with pytest.raises(ValueError, match=r"num_repetitions must be in \[1, 1000\], got 0"):
        Clock(0)


def test_speed_ups_stand_beside_each_other_in_steps_and_in_seconds():
    """The optimizer's step takes twice as long; if the reference never gets as low, both speed-ups are lower bounds."""
    falling = np.linspace(2.0, 1.0, 40)[None]
    longer = np.concatenate([falling, falling - 0.5], axis=1)
    entries = (
        entry(0.1 * falling, optimizer="velo", is_learned=True),
        entry(falling, optimizer="adam", stretched=[longer]),
    )
    paces = [Pace("tiny", name, one.reported[0].key, seconds, 0.97) for name, one, seconds in zip(
        ("velo", "adam"), entries, (2e-3, 1e-3), strict=True)]  # fmt: skip
    results = Results(("tiny",), ("velo", "adam"), "adam", entries)
    content = Content(SavedEvaluation("demo", Procedure(num_seeds=1, stretch=2), clock.clocked(results, paces)))
    velo, adam = content.times_on("tiny")
    assert wording.both_speed_ups(velo, 2) == "> 2x / > 1.00x"
    assert wording.both_speed_ups(adam, 2) == "1.00x / 1.00x"
    assert wording.clock(content.results).endswith("the process had 97 % of the core or more.")
