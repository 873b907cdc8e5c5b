"""What becomes of contributions when processes die, hang or are late, and tasks fail."""

import collections
import dataclasses

import pytest

from meta_train import worker
from meta_train.settings import Execution
from tests.meta_train.settings import TINY_FULL

stub_executor = pytest.importorskip("tests.meta_train.stub_executor")

pytestmark = [
    pytest.mark.xdist_group("ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

EXECUTION = Execution(num_processes=3, deadline_seconds=4.0, max_attempts=3)
SETTINGS = dataclasses.replace(TINY_FULL, num_workers=4, family_pool=0, family_steps=2, execution=EXECUTION)


def run(settings, folder, num_steps, orders):
    """(contributions by outer step, accounts, events, validation losses, snapshot)."""
    events = []
    for place, word in orders.items():
        (folder / place).write_text(word)
    executor = stub_executor.StubExecutor(settings, folder, lambda kind, **facts: events.append((kind, facts)))
    try:
        while executor._pool.num_running < EXECUTION.num_processes:  # one alone would wait for the slow
            executor._pool.wait(0.1)
        steps = [executor.compute(stub_executor.THETA, step) for step in range(num_steps)]
        losses = executor.validate(stub_executor.THETA, ["mlp_flower", "mlp_spirals"])
        snapshot = executor.snapshot()
    finally:
        executor.close()
    return [c for c, _ in steps], [a for _, a in steps], events, losses, snapshot


def totals(accounts):
    return collections.Counter({name: sum(getattr(a, name) for a in accounts) for name in vars(accounts[0])})


def test_synchronous_faults(tmp_path):
    """A death and a hang cost time only; a failing task is left out, logged, and not tried again."""
    orders = {"0-1": "die", "1-2": "hang", "2-0": "fail", "3-4": "nan", "3-5": "nan"}
    found, accounts, events, losses, snapshot = run(SETTINGS, tmp_path, 6, orders)
    places = [sorted((c.worker, c.step) for c in step) for step in found]
    everyone = [[(index, step) for index in range(4)] for step in range(6)]
    expected = [[place for place in step if place not in ((2, 0), (2, 1))] for step in everyone]
    assert places == expected
    assert all(c.theta_step == c.step for step in found for c in step)
    total = totals(accounts)
    assert total["lost"] == 2 and total["poisoned"] == 1 and total["skipped"] == 1 and total["stale"] == 0
    assert total["dispatched"] == total["used"] + total["lost"] + total["poisoned"] == 25
    calls = collections.Counter((tmp_path / "calls").read_text().split())
    assert calls["2-0"] == 1 and calls["2-1"] == 0 and calls["0-1"] == calls["1-2"] == 2
    kinds = collections.Counter(kind for kind, _ in events)
    assert kinds["worker_lost"] == kinds["worker_hung"] == kinds["set_aside"] == 1
    (facts,) = [facts for kind, facts in events if kind == "set_aside"]
    assert facts["family"] == repr(worker.family_of(SETTINGS, 2, 0)) and "out of memory" in facts["reason"]
    assert losses == {"mlp_flower": 0.5, "mlp_spirals": "MissingDataError: not here"}
    assert snapshot.steps == [6] * 4
    assert list(snapshot.set_aside["reasons"]) == [facts["family"]]
    assert list(snapshot.set_aside["nonfinite"].values()) == [2]  # a third would set it aside


def test_asynchronous_faults(tmp_path):
    """Every contribution is accounted for; those that are too late are dropped, and the others go on meanwhile."""
    settings = dataclasses.replace(SETTINGS, max_staleness=2, family_steps=5)
    orders = {"0-3": "die", "1-1": "slow", "2-0": "fail"}
    found, accounts, events, _, snapshot = run(settings, tmp_path, 200, orders)
    assert all(len(step) == 4 for step in found)
    ages = [step - c.theta_step for step, contributions in enumerate(found) for c in contributions]
    assert min(ages) >= 0 and max(ages) <= 2
    places = [(c.worker, c.step) for step in found for c in step]
    assert len(set(places)) == len(places)
    assert not {(2, step) for step in range(5)} & set(places)  # the rest of a failed task is passed over
    total = totals(accounts)
    assert total["lost"] == total["poisoned"] == 1 and total["stale"] >= 1
    outcomes = sum(total[name] for name in ("used", "stale", "lost", "poisoned", "replayed"))
    assert total["dispatched"] == outcomes + accounts[-1].in_flight
    assert sum(kind == "set_aside" for kind, _ in events) == 1
    # Everybody gets a turn: the one that died, and the slow one after its two seconds.
    turns = collections.Counter(index for index, _ in places)
    assert max(turns.values()) - min(turns.values()) < 60 and snapshot.steps[0] > 150
