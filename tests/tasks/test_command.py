"""The command: what it prints, and what it answers to nonsense."""

import sys

import numpy as np
import pytest

from tasks import __main__ as command
from tasks import fixed, pictures
from tasks.families.quadratic import Quadratic


def test_sample_prints_a_line_each_and_repeats_itself(capsys, monkeypatch):
    monkeypatch.setattr(command.cost, "predict_step_seconds", lambda family: 1e-3)
    outputs = []
    for _ in range(2):
        assert command.main(["sample", "3", "--seed", "1", "--mixture", "small"]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]
    assert len(outputs[0].splitlines()) == 3
    assert "1.00 ms" in outputs[0]


def test_list_names_everything(capsys, monkeypatch):
    monkeypatch.setattr(command, "_measures", lambda family: "1 ms")
    monkeypatch.setattr(command, "is_here", lambda name: name != "mnist")
    assert command.main(["list"]) == 0
    output = capsys.readouterr().out
    for name in ("GraphClassifier", "broad_augmented", "holdout_quick", "vit_china", "python_bytes"):
        assert name in output
    (line,) = [line for line in output.splitlines() if line.split()[:1] == ["mnist"]]
    assert line.endswith("not here")


def test_curve_falls_from_the_upper_left_to_the_lower_right():
    *rows, axis = command.draw_curve(np.exp(-np.linspace(0, 5, 1000)))
    places = [row.index("*") for row in rows]
    assert places == sorted(places)
    assert axis.endswith("1000 steps")


def test_a_mistake_is_one_line(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    for arguments, message in (
        (["show", "vit_chima"], "unknown task 'vit_chima'; close to it: vit_china"),
        (["show", "ImageMLP_FashionMnist8_Relu32"], f"needs pip install 'velo[datasets]' and its files in {tmp_path}"),
    ):
        assert command.main(arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_pictures_are_written(ending, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(command.cost, "predict_step_seconds", lambda family: 1e-3)
    path = tmp_path / "pictures" / f"samples.{ending}"
    assert command.main(["sample", "3", "--mixture", "small", "broad", "--picture", str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"wrote {path}"
    curve = tmp_path / f"curve.{ending}"
    pictures.draw_curve(curve, np.exp(-np.linspace(0, 5, 200)), "a task", 1.0)
    for written in (path, curve):
        assert written.read_bytes()[:4] in (b"\x89PNG", b"<?xm")


def test_a_picture_of_another_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must end in one of .pdf, .png, .svg, got 'curve.gif'"):
        pictures.draw_curve(tmp_path / "curve.gif", np.ones(5), "a task", 1.0)


def test_timing_a_suite(capsys, monkeypatch):
    monkeypatch.setitem(fixed.SUITES, "demo", ("quadratic",))
    monkeypatch.setitem(fixed.TASKS, "quadratic", fixed.FixedTask("quadratic", Quadratic(size=4), 50))
    assert command.main(["time", "demo", "--steps", "20"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    name, num_steps, _, first, _, last, *_ = line.split()
    assert (name, num_steps) == ("quadratic", "20")
    assert float(last) < float(first)
