import dataclasses
from pathlib import Path
from typing import Literal

import pytest

from configs.command_line import CommandLineError, Preset, parse


@dataclasses.dataclass(frozen=True)
class Coarse:
    num_pairs: int = 16
    sigma: float = 0.1

    def __post_init__(self):
        if self.num_pairs < 1:
            raise ValueError(f"Coarse: num_pairs must be at least 1, got {self.num_pairs}")


@dataclasses.dataclass(frozen=True)
class Fine(Coarse):
    use_history: bool = False


@dataclasses.dataclass(frozen=True)
class Objective:
    tail_share: float = 0.5


@dataclasses.dataclass(frozen=True)
class Settings:
    num_steps: int = 10
    where: Literal["local", "ray"] = "ray"
    address: str | None = None
    rates: tuple[float, ...] = (1.0, 2.0)
    estimator: Coarse | Fine = Coarse()
    objective: Objective = Objective()

    def __post_init__(self):
        if self.num_steps < 1:
            raise ValueError(f"Settings: num_steps must be at least 1, got {self.num_steps}")


@dataclasses.dataclass(frozen=True)
class Options:
    out: Path | None = None
    resume: bool = False


PRESETS = {
    "demo": Preset("Minutes.", Settings()),
    "laptop": Preset("Hours.", Settings(num_steps=1000, estimator=Fine(num_pairs=3, use_history=True))),
}


def parsed(*argv):
    return parse(PRESETS, argv, prog="velo-try", options=Options())


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_alone_is_unchanged(preset):
    assert parsed(preset) == (preset, PRESETS[preset].settings, Options())


@pytest.mark.parametrize(
    ("argv", "settings"),
    [
        (["--num-steps", "3"], Settings(num_steps=3)),
        (["--num_steps=3"], Settings(num_steps=3)),
        (["--num-steps", "4", "--num-steps", "3"], Settings(num_steps=3)),
        (["--where", "local", "--address", "host:1"], Settings(where="local", address="host:1")),
        (["--address", "None"], Settings()),
        (["--rates", "3", "4e-1"], Settings(rates=(3.0, 0.4))),
        (["--estimator.num_pairs", "2"], Settings(estimator=Coarse(num_pairs=2))),
        (["--objective.tail-share", "1"], Settings(objective=Objective(1.0))),
        (["--estimator", "Fine"], Settings(estimator=Fine())),
        (["--estimator.sigma", "3", "--estimator=Fine"], Settings(estimator=Fine(sigma=3.0))),
        (
            ["--estimator", "Fine", "--estimator.use-history", "True"],
            Settings(estimator=Fine(use_history=True)),
        ),
    ],
)
def test_overrides(argv, settings):
    assert parsed("demo", *argv)[1] == settings


def test_another_type_takes_the_fields_that_both_have():
    assert parsed("laptop", "--estimator", "Coarse")[1].estimator == Coarse(num_pairs=3)


def test_options_are_apart_from_the_settings():
    assert parsed("demo", "--out", "a/b", "--resume") == ("demo", Settings(), Options(Path("a/b"), resume=True))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["dmo"], "unknown preset 'dmo'; did you mean 'demo'? known: demo, laptop"),
        (["zzz"], "unknown preset 'zzz'; known: demo, laptop"),
        (["--num-steps", "3"], "the first argument is a preset, got --num-steps; known: demo, laptop"),
        (["demo", "--num-stesp", "3"], "unknown field --num-stesp; did you mean --num-steps?"),
        (["demo", "--tail_share=3"], "unknown field --tail-share; did you mean --objective.tail-share?"),
        (["demo", "--estimator.use-history", "True"], "unknown field --estimator.use-history; did you mean"),
        (["demo", "--resum"], "unknown field --resum; did you mean --resume?"),
        (["demo", "--num-steps", "many"], "--num-steps takes INT, got many"),
        (["demo", "--num_steps=1.5"], "--num-steps takes INT, got 1.5"),
        (["demo", "--rates", "1", "x"], "--rates takes [FLOAT [FLOAT ...]], got 1 x"),
        (["demo", "--num-steps"], "missing value for argument '--num-steps'"),
        (["demo", "--where", "moon"], "invalid choice 'moon' for argument '--where'. Expected one of ('local', 'ray')"),
        (["laptop", "--estimator.use-history", "maybe"], "Expected one of ('True', 'False')"),
        (["demo", "--num-steps", "-1"], "Settings: num_steps must be at least 1, got -1"),
        (["demo", "--estimator.num-pairs", "0"], "Coarse: num_pairs must be at least 1, got 0"),
        (["demo", "--estimator", "Fin"], "--estimator is one of Coarse, Fine, got 'Fin'; did you mean Fine?"),
        (["demo", "--estimator"], "--estimator is one of Coarse, Fine, got ''"),
        (["demo", "stray"], "unrecognized options: stray"),
        (["demo", "--resume", "yes"], "unrecognized options: yes"),
    ],
)
def test_mistakes_are_named_in_one_line(argv, message, capsys):
    with pytest.raises(CommandLineError) as raised:
        parsed(*argv)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        ([], 2, ["demo", "Minutes.", "laptop", "Hours."]),
        (["--help"], 0, ["demo", "Minutes.", "laptop", "Hours."]),
        (["laptop", "--help"], 0, ["--objective.tail-share", "--out", "1000", "--estimator Coarse|Fine"]),
        (["demo", "--estimator", "Fine", "-h"], 0, ["--estimator.use-history"]),
    ],
)
def test_help(argv, code, words, capsys):
    with pytest.raises(SystemExit) as stop:
        parsed(*argv)
    assert stop.value.code == code
    text = capsys.readouterr().out
    assert all(word in text for word in words)
