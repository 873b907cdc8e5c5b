"""The command: what it prints, and what it answers to nonsense."""

import numpy as np

from tasks import __main__ as command


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


def test_unknown_task(capsys):
    assert command.main(["show", "mnits"]) == 2
    assert "unknown task 'mnits'; known: autoencoder_china" in capsys.readouterr().err
