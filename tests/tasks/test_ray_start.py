"""Where Ray puts its sockets, whose paths may have 107 bytes."""

from pathlib import Path

import pytest

from tasks import ray_start

ray = pytest.importorskip("ray")
LONG = "/tmp/" + "a" * 80


@pytest.fixture(autouse=True)
def folders(monkeypatch):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.delenv("TMPDIR", raising=False)


def test_a_short_folder_is_left_alone(monkeypatch):
    assert ray_start.temporary_folder() is None
    monkeypatch.setenv("TMPDIR", "/tmp/short")
    assert ray_start.temporary_folder() is None


def test_a_long_folder_is_replaced_by_a_short_one(monkeypatch):
    monkeypatch.setenv("TMPDIR", LONG)
    assert ray_start.temporary_folder() == "/tmp/ray"


@pytest.mark.parametrize(("variable", "short"), [("RAY_TMPDIR", "/tmp/ray"), ("TMPDIR", "/proc/ray")])
def test_where_there_is_none_the_variable_to_set_is_named(monkeypatch, variable, short):
    monkeypatch.setenv(variable, LONG)
    monkeypatch.setattr(ray_start, "SHORT_FOLDER", Path(short))
    message = f"{variable} is {LONG}, too long .* set RAY_TMPDIR to .* at most 30 bytes, not 85"
    with pytest.raises(OSError, match=message):
        ray_start.temporary_folder()


@pytest.mark.xdist_group("ray")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_ray_starts_in_spite_of_a_long_folder(monkeypatch):
    monkeypatch.setenv("TMPDIR", LONG)
    ray_start.start("local", num_cpus=1, runtime_env={})
    try:
        assert ray.get(ray.remote(lambda: 3).remote()) == 3
    finally:
        ray.shutdown()
