"""The report's learning curves: training loss against steps, in a figure per task and one of all tasks."""

import itertools
import math

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from evaluation import scores
from evaluation.curves import Results
from evaluation.report.drawing import (
    REFERENCE_COLOR,
    STYLE,
    Drawing,
    label,
    panel,
    set_loss_limits,
    strokes,
    style_axes,
    subsample,
)

CURVE_COLUMNS = ("optimizer", "step", "mean", "least", "greatest")
MAX_COLUMNS = 5
"""Maximum number of panels side by side."""


def training_curves(results: Results, task: str) -> Drawing:
    """Training loss in units of the reference's final loss: the mean over seeds, with a band from least to greatest."""
    with matplotlib.rc_context(STYLE):
        figure, axes = panel("training step", _loss_unit(results, task))
        rows = draw_curves(axes, results, task)
    return Drawing(f"curves-{task}", f"Training curves on {task}", figure, CURVE_COLUMNS, rows)


def _loss_unit(results: Results, task: str) -> str:
    """The label of the vertical axis."""
    has_unit = scores.has_unit(results.entry(task, results.reference).train_loss)
    return f"loss / tuned {label(results.reference)}'s final" if has_unit else "loss"


def draw_curves(axes: Axes, results: Results, task: str) -> list[tuple]:
    """Draws the curves of a task into `axes`; returns them as rows of `CURVE_COLUMNS`."""
    baseline = results.entry(task, results.reference).train_loss
    rows, lowest, highest = [], [], []
    for name, stroke in reversed(strokes(results).items()):  # the first optimizer is drawn on top
        smoothed = scores.relative(results.entry(task, name).train_loss, baseline)
        steps = subsample(smoothed.shape[1])
        mean = np.where(np.isfinite(smoothed), smoothed, np.nan).mean(axis=0)
        low, high = smoothed.min(axis=0)[steps], smoothed.max(axis=0)[steps]
        axes.plot(steps + 1, mean[steps], **stroke.line, solid_capstyle="round")
        rows += [(name, int(step) + 1, *values) for step, *values in zip(steps, mean[steps], low, high, strict=True)]
        if len(smoothed) > 1:
            finite = np.isfinite(high)
            axes.fill_between(steps[finite] + 1, low[finite], high[finite], color=stroke.color, alpha=0.1, linewidth=0)
        if np.isfinite(mean).any():
            lowest.append(np.nanmin(mean))
            highest.append(smoothed[:, 0].mean())
    target = scores.relative(baseline, baseline)[:, -1].mean()
    if np.isfinite(target):
        axes.axhline(target, color=REFERENCE_COLOR, linewidth=0.7, alpha=0.5)
    set_loss_limits(axes, lowest, highest)
    axes.set_xlim(left=0)
    return rows


def all_training_curves(results: Results) -> Drawing:
    """The learning curves of every task in one picture with a legend, for papers."""
    num_columns = min(len(results.tasks), MAX_COLUMNS)
    num_rows = math.ceil(len(results.tasks) / num_columns)
    rows = []
    with matplotlib.rc_context({**STYLE, "font.size": 8}):
        figure = Figure(figsize=(2.3 * num_columns, 1.75 * num_rows + 0.5), layout="constrained")
        grid = figure.subplots(num_rows, num_columns, squeeze=False)
        for axes, task in itertools.zip_longest(grid.flat, results.tasks):
            if task is None:
                axes.set_axis_off()
                continue
            style_axes(axes)
            axes.set_title(label(task), fontsize=8)
            rows += [(task, *row) for row in draw_curves(axes, results, task)]
        figure.supxlabel("training step", fontsize=9)
        figure.supylabel(f"training loss / tuned {label(results.reference)}'s final", fontsize=9)
        lines = [Line2D([], [], **stroke.line, label=label(name)) for name, stroke in strokes(results).items()]
        figure.legend(handles=lines, loc="outside upper center", ncols=min(len(lines), MAX_COLUMNS + 2), frameon=False)
    return Drawing("curves", "Training curves", figure, ("task", *CURVE_COLUMNS), rows)
