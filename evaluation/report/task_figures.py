"""The figures, as SVG text to put into a page."""

import dataclasses
import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from evaluation import scores
from evaluation.results import Entry, Results
from velo.shapes import Float

LEARNED_COLORS = ("#d55e00", "#e69f00", "#cc79a7", "#8c510a")
BASELINE_COLORS = ("#0072b2", "#009e73", "#56b4e9", "#7f7f7f", "#6a3d9a")
REFERENCE_COLOR = "#1a1a1a"
DASHES = ("6 2", "2 2", "6 2 2 2", "8 3", "3 1")
SIZE = (4.0, 2.75)  # inches; a panel is 300-400 px wide on a page, so 9 pt are about 11 px
MAX_POINTS = 200
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "velo",
    "font.family": "sans-serif",
    "font.sans-serif": ["system-ui", "Helvetica", "Arial", "DejaVu Sans"],
    "font.size": 9,
    "axes.edgecolor": "#9aa0a6",
    "axes.labelcolor": "#3c4043",
    "xtick.color": "#9aa0a6",
    "ytick.color": "#9aa0a6",
    "xtick.labelcolor": "#3c4043",
    "ytick.labelcolor": "#3c4043",
}


@dataclasses.dataclass(frozen=True)
class Stroke:
    """How an optimizer is drawn everywhere: the same colour and dashes in every figure and in the legend."""

    color: str
    dashes: str
    """SVG `stroke-dasharray`; empty for a solid line."""
    width: float

    @property
    def line(self) -> dict:
        pattern = [float(part) for part in self.dashes.split()]
        return {
            "color": self.color,
            "linewidth": self.width,
            "linestyle": (0, tuple(size / self.width for size in pattern)) if pattern else "solid",
        }


def strokes(results: Results) -> dict[str, Stroke]:
    """Learned optimizers warm and thick, the reference black, other baselines cool and dashed."""
    result = {}
    num_baselines = 0
    for name in results.optimizers:
        if name in results.learned:
            color = LEARNED_COLORS[results.learned.index(name) % len(LEARNED_COLORS)]
            result[name] = Stroke(color, "", 2.0)
        elif name == results.reference:
            result[name] = Stroke(REFERENCE_COLOR, "", 1.3)
        else:
            color = BASELINE_COLORS[num_baselines % len(BASELINE_COLORS)]
            result[name] = Stroke(color, DASHES[num_baselines % len(DASHES)], 1.4)
            num_baselines += 1
    return result


def training_curves(results: Results, task: str) -> str:
    """Training loss in units of the reference's final loss: the mean over seeds in a band from least to greatest."""
    baseline = results.entry(task, results.reference).train_loss
    with matplotlib.rc_context(STYLE):
        figure, axes = _panel(
            "training step", f"loss / tuned {results.reference}'s final" if scores.has_unit(baseline) else "loss"
        )
        lowest, highest = [], []
        for name, stroke in reversed(strokes(results).items()):  # the first optimizer is drawn on top
            smoothed = scores.relative(results.entry(task, name).train_loss, baseline)
            steps = _subsample(smoothed.shape[1])
            mean = np.where(np.isfinite(smoothed), smoothed, np.nan).mean(axis=0)
            axes.plot(steps + 1, mean[steps], **stroke.line, solid_capstyle="round")
            if len(smoothed) > 1:
                low, high = smoothed.min(axis=0)[steps], smoothed.max(axis=0)[steps]
                finite = np.isfinite(high)
                axes.fill_between(
                    steps[finite] + 1, low[finite], high[finite], color=stroke.color, alpha=0.1, linewidth=0
                )
            if np.isfinite(mean).any():
                lowest.append(np.nanmin(mean))
                highest.append(smoothed[:, 0].mean())
        target = scores.relative(baseline, baseline)[:, -1].mean()
        if np.isfinite(target):
            axes.axhline(target, color=REFERENCE_COLOR, linewidth=0.7, alpha=0.5)
        _set_loss_limits(axes, lowest, highest)
        axes.set_xlim(left=0)
        return _svg(figure, f"Training curves on {task}")


def sensitivity(results: Results, task: str) -> str:
    """Final training loss on the tuning seeds against the learning rate; a level line where there is no rate."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _panel("learning rate", "final training loss")
        lowest, highest = [], []
        for name, stroke in reversed(strokes(results).items()):
            entry = results.entry(task, name)
            final = scores.final_loss(entry.tuning_loss).mean(axis=1)
            finite = np.isfinite(final)
            start = scores.smooth(entry.tuning_loss)[..., 0].mean()
            if not finite.any():
                continue
            lowest.append(final[finite].min())
            highest.append(start)
            if entry.is_tuned:
                rates = np.array([dict(trial[0].hyperparameters)["learning_rate"] for trial in entry.trials])
                axes.plot(rates[finite], final[finite], **stroke.line, marker="o", markersize=2.5)
                axes.plot(
                    rates[entry.chosen], final[entry.chosen], marker="o", markersize=7,
                    markerfacecolor="none", markeredgecolor=stroke.color, linestyle="none",
                )  # fmt: skip
            else:
                axes.axhline(final[0], **stroke.line)
        axes.set_xscale("log")
        _set_loss_limits(axes, lowest, highest)
        return _svg(figure, f"Sensitivity to the learning rate on {task}")


def meta_loss(points: Sequence[tuple[int, float]]) -> str:
    """Meta-loss against outer steps, faint, with its running mean."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _panel("outer step", "meta-loss")
        steps, losses = np.array([step for step, _ in points]), np.array([loss for _, loss in points], np.float64)
        axes.plot(steps, losses, color=LEARNED_COLORS[0], alpha=0.35, linewidth=1)
        finite = np.isfinite(losses)
        if finite.any():
            axes.plot(steps[finite], _running_mean(losses[finite]), color=LEARNED_COLORS[0], linewidth=2)
        return _svg(figure, "Meta-loss during meta-training")


def _running_mean(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Over a centred tenth of the points."""
    half = max(1, len(values) // 20)
    sums = np.concatenate([np.zeros(1), np.cumsum(values)])
    index = np.arange(len(values))
    low, high = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)


def _subsample(num_steps: int) -> np.ndarray:
    """At most `MAX_POINTS` of the steps, the first and the last among them."""
    return np.unique(np.round(np.linspace(0, num_steps - 1, MAX_POINTS)).astype(int))


def _panel(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e8eaed", linewidth=0.8)
    axes.set_axisbelow(True)
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    return figure, axes


def _set_loss_limits(axes: Axes, lowest: list[float], highest: list[float]) -> None:
    """From the best loss to a little above where training starts, logarithmic if all of it is positive."""
    low, high = (min(lowest), max(highest)) if lowest else (0.0, 1.0)
    if not np.isfinite(high) or high <= low:
        high = low + max(abs(low), 1e-12)
    if low > 0:
        axes.set_yscale("log")
        axes.set_ylim(low * (low / high) ** 0.06, high * (high / low) ** 0.08)
        if high / low < 30:  # powers of ten alone would label one tick or none
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if high / low > 5 else MaxNLocator(5))
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))


def _svg(figure: Figure, title: str) -> str:
    """The figure as an SVG element that scales with its container and names itself to screen readers."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' (xmlns:xlink|xmlns)="[^"]*"', "", text)
    text = re.sub(r'\bwidth="[^"]*pt" ', "", re.sub(r'\bheight="[^"]*pt" ', "", text, count=1), count=1)
    return text.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1).replace("xlink:href", "href")


def legend(results: Results) -> list[tuple[str, Stroke, Entry]]:
    """(name, stroke, an entry of it) in the order of the report."""
    return [(name, stroke, results.entry(results.tasks[0], name)) for name, stroke in strokes(results).items()]
