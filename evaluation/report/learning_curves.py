"""The figures of one task each."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from evaluation import scores
from evaluation.report.drawing import (
    LEARNED_COLORS,
    REFERENCE_COLOR,
    STYLE,
    Drawing,
    panel,
    set_loss_limits,
    strokes,
    subsample,
)
from evaluation.results import Results
from velo.shapes import Float

CURVE_COLUMNS = ("optimizer", "step", "mean", "least", "greatest")
MAX_TENSORS = 40
"""Lines in a figure of step sizes."""


def training_curves(results: Results, task: str) -> Drawing:
    """Training loss in units of the reference's final loss: the mean over seeds in a band from least to greatest."""
    with matplotlib.rc_context(STYLE):
        figure, axes = panel("training step", _loss_unit(results, task))
        rows = draw_curves(axes, results, task)
    return Drawing(f"curves-{task}", f"Training curves on {task}", figure, CURVE_COLUMNS, rows)


def _loss_unit(results: Results, task: str) -> str:
    has_unit = scores.has_unit(results.entry(task, results.reference).train_loss)
    return f"loss / tuned {results.reference}'s final" if has_unit else "loss"


def draw_curves(axes: Axes, results: Results, task: str) -> list[tuple]:
    """Draws the curves of a task; returns the rows of `CURVE_COLUMNS`."""
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


def sensitivity(results: Results, task: str) -> Drawing:
    """Final training loss on the tuning seeds against the learning rate; a level line where there is no rate."""
    rows = []
    with matplotlib.rc_context(STYLE):
        figure, axes = panel("learning rate", "final training loss")
        lowest, highest = [], []
        for name, stroke in reversed(strokes(results).items()):
            entry = results.entry(task, name)
            final = scores.final_loss(entry.tuning_loss).mean(axis=1)
            finite = np.isfinite(final)
            rates = entry.rates
            rows += [(name, "" if rates is None else rates[index], loss) for index, loss in enumerate(final)]
            if not finite.any():
                continue
            lowest.append(final[finite].min())
            highest.append(scores.smooth(entry.tuning_loss)[..., 0].mean())
            if rates is None or not entry.is_tuned:
                axes.axhline(final[0], **stroke.line)
                continue
            order = np.argsort(rates)
            shown = order[finite[order]]
            fixed = {
                tuple(pair for pair in trial[0].hyperparameters if pair[0] != "learning_rate") for trial in entry.trials
            }
            is_grid = len(fixed) == 1
            line = stroke.line if is_grid else {"color": stroke.color, "linestyle": "none", "alpha": 0.6}
            axes.plot(rates[shown], final[shown], **line, marker="o", markersize=2.5)
            axes.plot(
                rates[entry.chosen], final[entry.chosen], marker="o", markersize=7,
                markerfacecolor="none", markeredgecolor=stroke.color, linestyle="none",
            )  # fmt: skip
        if any(results.entry(task, name).rates is not None for name in results.optimizers):
            axes.set_xscale("log")
        set_loss_limits(axes, lowest, highest)
    title = f"Sensitivity to the learning rate on {task}"
    return Drawing(f"sensitivity-{task}", title, figure, ("optimizer", "learning_rate", "final_loss"), rows)


def step_sizes(results: Results, task: str, optimizer: str) -> Drawing | None:
    """Each tensor's step relative to its weights over the first reported run; None if it wasn't recorded."""
    record = results.entry(task, optimizer).reported[0].step_sizes
    if record is None:
        return None
    values = np.where((record.values > 0) & np.isfinite(record.values), record.values, np.nan)
    rows = []
    with matplotlib.rc_context(STYLE):
        figure, axes = panel("training step", "rms step / rms weight")
        colors = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.9, len(record.tensors)))
        for index in range(min(len(record.tensors), MAX_TENSORS)):
            axes.plot(record.steps + 1, values[:, index], color=colors[index], linewidth=0.9, alpha=0.75)
        middle = [np.median(row[np.isfinite(row)]) if np.isfinite(row).any() else np.nan for row in values]
        axes.plot(record.steps + 1, middle, color=LEARNED_COLORS[0], linewidth=2)
        for step, row in zip(record.steps, record.values, strict=True):
            rows += [(int(step) + 1, tensor, size) for tensor, size in zip(record.tensors, row, strict=True)]
        if np.isfinite(values).any():
            axes.set_yscale("log")
        axes.set_xlim(left=0)
    title = f"Step sizes of {optimizer} on {task}"
    return Drawing(f"steps-{optimizer}-{task}", title, figure, ("step", "tensor", "relative_step"), rows)


def running_mean(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Over a centred tenth of the points."""
    half = max(1, len(values) // 20)
    sums = np.concatenate([np.zeros(1), np.cumsum(values)])
    index = np.arange(len(values))
    low, high = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)
