"""The figures over all tasks."""

import itertools
import math
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullFormatter

from evaluation import scores
from evaluation.report import score_tables as summary
from evaluation.report.drawing import LEARNED_COLORS, STYLE, Drawing, panel, strokes, style_axes
from evaluation.report.learning_curves import CURVE_COLUMNS, draw_curves, running_mean
from evaluation.report.score_tables import Summary
from evaluation.results import Results

NUM_TAUS = 121
MAX_COLUMNS = 5
"""Panels side by side."""


def all_training_curves(results: Results) -> Drawing:
    """The training curves of every task in one picture, with a legend: for papers."""
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
            axes.set_title(task, fontsize=8)
            rows += [(task, *row) for row in draw_curves(axes, results, task)]
        figure.supxlabel("training step", fontsize=9)
        figure.supylabel(f"training loss / tuned {results.reference}'s final", fontsize=9)
        lines = [Line2D([], [], **stroke.line, label=name) for name, stroke in strokes(results).items()]
        figure.legend(handles=lines, loc="outside upper center", ncols=min(len(lines), MAX_COLUMNS + 2), frameon=False)
    return Drawing("curves", "Training curves", figure, ("task", *CURVE_COLUMNS), rows)


def forest(results: Results, summaries: Sequence[Summary]) -> Drawing:
    """Each optimizer's mean ratio of final losses to the reference's, with its interval."""
    colors = strokes(results)
    rows = []
    with matplotlib.rc_context(STYLE):
        figure, axes = panel(f"final loss / tuned {results.reference}'s", "", (4.0, 0.9 + 0.26 * len(summaries)))
        shown = [found for found in summaries if np.isfinite(found.ratio)]
        for place, found in enumerate(reversed(shown)):
            color = colors[found.optimizer].color
            low, high = found.ratio_interval
            if np.isfinite([low, high]).all():
                axes.plot([low, high], [place, place], color=color, linewidth=2, solid_capstyle="round")
            axes.plot(found.ratio, place, marker="o", markersize=5, color=color)
        rows = [(found.optimizer, found.ratio, *found.ratio_interval) for found in summaries]
        axes.axvline(1.0, color="#9aa0a6", linewidth=0.8)
        axes.set_yticks(range(len(shown)), [found.optimizer for found in reversed(shown)])
        values = [value for row in rows for value in row[1:] if np.isfinite(value) and value > 0]
        if values and max(values) / min(values) > 4:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(axis="y", visible=False)
    columns = ("optimizer", "interquartile_mean_ratio", "low", "high")
    return Drawing("final-loss", "Final losses over all tasks", figure, columns, rows)


def profile(results: Results, *, in_seconds: bool = False) -> Drawing:
    """Performance profiles: share of tasks within a factor tau of the fastest to the reference's final loss."""
    taus = np.linspace(1.0, scores.MAX_TAU, NUM_TAUS)
    times = summary.times_to_target(results, in_seconds=in_seconds)
    shares = scores.performance_profile(times, taus)
    unit = "seconds" if in_seconds else "steps"
    with matplotlib.rc_context(STYLE):
        figure, axes = panel(f"factor over the fastest, in {unit}", "share of tasks")
        for (name, stroke), share in reversed(list(zip(strokes(results).items(), shares, strict=True))):
            axes.plot(taus, share, **stroke.line, drawstyle="steps-post", label=name)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlim(1.0, scores.MAX_TAU)
    rows = [
        (name, tau, share)
        for name, row in zip(results.optimizers, shares, strict=True)
        for tau, share in zip(taus[::4], row[::4], strict=True)
    ]
    title = f"Performance profiles in {unit}"
    return Drawing(f"profile-{unit}", title, figure, ("optimizer", "tau", "share_of_tasks"), rows)


def tuning_cost(results: Results) -> Drawing:
    """Quality against the number of trials, on the tuning seeds: the median best of n trials of every tuned optimizer,
    a level line for those that have nothing to tune; geometric means over tasks in units of the reference's best.
    """
    rows = []
    with matplotlib.rc_context(STYLE):
        figure, axes = panel("trials", f"final loss / best of all {results.reference}'s trials")
        values = []
        for name, stroke in reversed(strokes(results).items()):
            curve = _best_of(results, name)
            if curve is None:
                continue
            trials = np.arange(1, len(curve) + 1)
            rows += [(name, int(number), value) for number, value in zip(trials, curve, strict=True)]
            finite = np.isfinite(curve)
            values += list(curve[finite])
            if len(curve) > 1:
                axes.plot(trials[finite], curve[finite], **stroke.line, marker="o", markersize=2.5)
            elif finite.all():
                axes.axhline(curve[0], **stroke.line)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if values:
            top = min(max(values), 4.0 * min(values))
            axes.set_ylim(min(values) * 0.95, top * 1.05)
    title = "Cost of tuning against quality"
    return Drawing("tuning-cost", title, figure, ("optimizer", "trials", "median_best_ratio"), rows)


def _best_of(results: Results, name: str) -> np.ndarray | None:
    """[trials], geometric mean over tasks; None where a ratio means nothing."""
    logarithms = []
    for task in results.tasks:
        trials, reference = (
            scores.final_loss(results.entry(task, optimizer).tuning_loss).mean(axis=1)
            for optimizer in (name, results.reference)
        )
        best = reference.min()
        if not np.isfinite(best) or best <= 0 or (trials <= 0).any():
            return None
        logarithms.append(np.log(scores.best_of(trials)) - np.log(best))
    shortest = min(map(len, logarithms))
    return np.exp(np.mean([row[:shortest] for row in logarithms], axis=0))


def meta_loss(points: Sequence[tuple[int, float]]) -> Drawing:
    """Meta-loss against outer steps, faint, with its running mean."""
    with matplotlib.rc_context(STYLE):
        figure, axes = panel("outer step", "meta-loss")
        steps, losses = np.array([step for step, _ in points]), np.array([loss for _, loss in points], np.float64)
        axes.plot(steps, losses, color=LEARNED_COLORS[0], alpha=0.35, linewidth=1)
        finite = np.isfinite(losses)
        if finite.any():
            axes.plot(steps[finite], running_mean(losses[finite]), color=LEARNED_COLORS[0], linewidth=2)
    return Drawing("meta-loss", "Meta-loss during meta-training", figure, ("outer_step", "meta_loss"), list(points))
