"""Draws the learning curve of a task, and what mixtures sample."""

import collections
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Sample(NamedTuple):
    """What a picture shows of a sampled family."""

    family: str
    num_params: int
    step_seconds: float
    """Predicted time of a step; NaN if this machine lacks the data set."""


def _figure(width: float, height: float) -> Any:
    """An empty figure that needs no screen; sizes are in inches. A ValueError if matplotlib is missing."""
    try:
        figures = importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise ValueError("pictures need matplotlib: pip install 'velo[evaluate]'") from error
    return figures.Figure(figsize=(width, height), layout="constrained")


def _save(figure: Any, path: Path) -> None:
    """Writes PNG, SVG or PDF, by the suffix; equal pictures make equal PNG and SVG files."""
    known = (".pdf", ".png", ".svg")
    if path.suffix not in known:
        raise ValueError(f"a picture must end in one of {', '.join(known)}, got {path.name!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with importlib.import_module("matplotlib").rc_context({"svg.hashsalt": "velo"}):
        figure.savefig(path, dpi=120, metadata={"Date": None} if path.suffix == ".svg" else None)


def draw_curve(path: Path, losses: np.ndarray, title: str, reference_loss: float) -> None:
    """Draws losses [steps] and their running mean, with a line at the loss of a guess.

    Raises:
        ValueError: matplotlib is missing, or the suffix is not one of .pdf, .png and .svg.
    """
    figure = _figure(7.0, 4.0)
    axes = figure.add_subplot()
    axes.plot(losses, color="lightsteelblue", linewidth=0.7, label="a batch")
    window = max(1, len(losses) // 50)
    means = np.convolve(losses, np.full(window, 1.0 / window), mode="valid")
    axes.plot(np.arange(len(means)) + window - 1, means, color="navy", label=f"mean of {window}")
    axes.axhline(reference_loss, color="gray", linestyle=":", label="a guess that ignores its input")
    axes.set(title=title, xlabel="step", ylabel="training loss", yscale="log" if np.nanmin(losses) > 0 else "linear")
    axes.legend()
    _save(figure, path)


def draw_samples(path: Path, samples: Mapping[str, Sequence[Sample]]) -> None:
    """Draws histograms of families, parameters and predicted times of a step, with a colour for each mixture.

    Raises:
        ValueError: as `draw_curve`.
    """
    figure = _figure(8.0, 10.0)
    top, middle, bottom = figure.subplots(3, 1, height_ratios=(2, 1, 1))
    names = sorted({sample.family for several in samples.values() for sample in several}, reverse=True)
    height = 0.8 / len(samples)
    for number, (mixture, several) in enumerate(samples.items()):
        counts = collections.Counter(sample.family for sample in several)
        label = f"{mixture}, {len(several)} samples"
        top.barh(np.arange(len(names)) + number * height, [counts[name] for name in names], height, label=label)
    top.set_yticks(np.arange(len(names)) + 0.4 - height / 2, names)
    top.set(xlabel="samples", title="family")
    figure.legend(loc="outside lower center", ncols=len(samples))
    for axes, column in ((middle, "num_params"), (bottom, "step_seconds")):
        values = {mixture: [getattr(sample, column) for sample in several] for mixture, several in samples.items()}
        logs = [np.log10([value for value in column if value > 0]) for column in values.values()]
        edges = np.histogram_bin_edges(np.concatenate(logs), 40)
        for several in logs:
            axes.hist(several, edges, alpha=0.6)
    middle.set(title="parameters", ylabel="samples")
    bottom.set(title="predicted seconds of a step on one core", ylabel="samples")
    for axes in (middle, bottom):
        axes.xaxis.set_major_formatter(lambda exponent, _: f"$10^{{{exponent:g}}}$")
    _save(figure, path)
