import dataclasses
import shlex
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import velo
from configs import evaluate_command, evaluation, fields, meta_train_command, meta_training
from configs.command_line import CommandLineError, parse
from configs.references import REFERENCES
from meta_train import learner, run_folder
from meta_train.checkpoint import Checkpoints
from meta_train.estimators import PES, FullES
from meta_train.outer_optimizer import OuterOptimizer
from meta_train.run_log import read_metrics
from meta_train.task_problem import Episodes
from tasks.mixture import get_mixture

RUNS = Path(__file__).parents[2] / "docs" / "runs"

ALL = [
    pytest.param(module.PRESETS, command.Options(), name, id=f"{command.PROG}-{name}")
    for module, command in ((meta_training, meta_train_command), (evaluation, evaluate_command))
    for name in module.PRESETS
]


def words(value):
    return [str(item) for item in value] if isinstance(value, tuple) else [str(value)]


def spelled_out(settings):
    """Every field of the settings as the words of a command line, types first."""
    argv = []
    for path in fields.choices(settings, REFERENCES):
        argv += [f"--{path}", type(value_at(settings, path)).__name__]
    for flag in fields.flags(settings, REFERENCES):
        argv += [flag, *words(value_at(settings, flag.removeprefix("--")))]
    return argv


def value_at(settings, path):
    for name in path.replace("-", "_").split("."):
        settings = getattr(settings, name)
    return settings


@pytest.mark.parametrize(("presets", "options", "name"), ALL)
def test_round_trips_through_the_command_line(presets, options, name):
    settings = presets[name].settings
    assert parse(presets, [name], prog="velo", options=options)[1] == settings
    assert parse(presets, [name, *spelled_out(settings)], prog="velo", options=options)[1] == settings


def test_another_estimator_may_need_other_settings_beside_it():
    """The other settings may come after the estimator, since only the complete settings are checked."""
    words = ["laptop", "--estimator", "PES", "--family-steps", "20"]
    _, settings, _ = parse(meta_training.PRESETS, words, prog="velo", options=meta_train_command.Options())
    assert settings.estimator == PES(num_pairs=8, sigma=0.2, standardize=True, parts=settings.estimator.parts)
    with pytest.raises(CommandLineError, match="family_steps must be at least 20"):
        parse(meta_training.PRESETS, words[:-2], prog="velo", options=meta_train_command.Options())


@pytest.mark.parametrize(("presets", "options", "name"), ALL)
def test_settings_are_hashed_by_value_and_described(presets, options, name):
    del options
    assert hash(presets[name].settings)
    assert presets[name].description.endswith(".")


def test_settings_of_earlier_versions_go_on(tmp_path):
    """The first run was written before many of today's settings were there."""
    settings = dataclasses.replace(
        meta_training.PRESETS["laptop"].settings,
        num_workers=6,
        mixture=get_mixture("broad"),
        family_pool=30,
        optimizer=velo.VeLO(lstm_size=16, num_mixtures=4, basis="elementwise", decay="cosine"),
        estimator=FullES(num_pairs=16, sigma=0.2, standardize=True),
        episodes=Episodes(segment_steps=50, min_steps=100, max_steps=800),
        outer=OuterOptimizer(learning_rate=0.03),
    )
    shutil.copy(RUNS / "first" / "settings.json", tmp_path)
    run_folder.prepare(tmp_path, settings, resume=True)


def test_the_stored_run_goes_on_by_its_command(tmp_path):
    stored = shutil.copytree(RUNS / "fourth", tmp_path / "fourth")
    words = shlex.split((stored / "command.sh").read_text().replace("\\\n", " "))
    assert words[0] == meta_train_command.PROG
    _, settings, _ = parse(meta_training.PRESETS, words[1:], prog="velo", options=meta_train_command.Options())
    run_folder.prepare(stored, settings, resume=True)
    checkpoints = Checkpoints(stored / "checkpoints", settings)
    theta = settings.optimizer.init(jax.random.key(0))
    state, workers = checkpoints.restore(learner.init(settings.outer.build(), theta))
    checkpoints.close()
    assert state.step == read_metrics(stored)[-1]["step"] + 1 > 0
    assert workers.steps == [state.step] * settings.num_workers
    _, exported = velo.load_weights(velo.weights.LIGHT_WEIGHTS)
    jax.tree.map(np.testing.assert_array_equal, state.average, exported)


@pytest.mark.parametrize("argv", [["--help"], ["laptop", "--help"]])
def test_the_help_says_that_ones_own_can_be_meta_trained(argv, capsys):
    with pytest.raises(SystemExit):
        parse(meta_training.PRESETS, argv, prog="velo", options=meta_train_command.Options())
    text = " ".join(capsys.readouterr().out.split())
    for flag in ("--optimizer", "--mixture", "--validation.suite"):
        assert flag in text
    assert "take a bundled name or, as MODULE:ATTRIBUTE, your own from a module" in text


def test_another_optimizer_perturbs_all_of_its_theta_unless_it_is_told_otherwise():
    """The parts that a preset names are those of VeLO."""
    for words, parts in (
        (["laptop", "--optimizer", "Celo"], ()),
        (["laptop", "--optimizer", "Celo", "--estimator.parts", "bank"], ("bank",)),
        (["laptop", "--optimizer", "VeLO"], meta_training.PRESETS["laptop"].settings.estimator.parts),
    ):
        _, settings, _ = parse(meta_training.PRESETS, words, prog="velo", options=meta_train_command.Options())
        assert type(settings.optimizer).__name__ == words[2]
        assert settings.estimator.parts == parts


@pytest.mark.parametrize(
    ("presets", "options"),
    [(meta_training.PRESETS, meta_train_command.Options()), (evaluation.PRESETS, evaluate_command.Options())],
)
def test_options_and_settings_share_no_name(presets, options):
    for preset in presets.values():
        assert not {*fields.flags(preset.settings, REFERENCES)} & {*fields.flags(options)}
