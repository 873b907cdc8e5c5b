"""The report's figures except the learning curves: scores over all tasks, learning rates, step sizes."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.ticker import MaxNLocator, NullFormatter

from evaluation import scores
from evaluation.curves import Results
from evaluation.report import score_tables
from evaluation.report.drawing import LEARNED_COLORS, STYLE, Drawing, label, panel, set_loss_limits, strokes
from evaluation.report.score_tables import Row, Summary
from velo.shapes import Float

NUM_TAUS = 121
MAX_SLOWDOWN = 8.0
"""The figure of speed-ups clips speed-ups below the inverse of this factor."""
MAX_TENSORS = 40
"""Maximum number of lines in a figure of step sizes."""


def forest(results: Results, summaries: Sequence[Summary]) -> Drawing:
    """Each optimizer's mean ratio of final losses to the reference's, with its interval."""
    colors = strokes(results)
    rows = []
    with matplotlib.rc_context(STYLE):
        figure, axes = panel(f"final loss / tuned {label(results.reference)}'s", "", (4.0, 0.9 + 0.26 * len(summaries)))
        shown = [found for found in summaries if np.isfinite(found.ratio)]
        for place, found in enumerate(reversed(shown)):
            color = colors[found.optimizer].color
            low, high = found.ratio_interval
            if np.isfinite([low, high]).all():
                axes.plot([low, high], [place, place], color=color, linewidth=2, solid_capstyle="round")
            axes.plot(found.ratio, place, marker="o", markersize=5, color=color)
        rows = [(found.optimizer, found.ratio, *found.ratio_interval) for found in summaries]
        axes.axvline(1.0, color="#9aa0a6", linewidth=0.8)
        axes.set_yticks(range(len(shown)), [label(found.optimizer) for found in reversed(shown)])
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
    """Performance profiles of the times to the reference's final loss: share of tasks within tau of the fastest."""
    taus = np.linspace(1.0, scores.MAX_TAU, NUM_TAUS)
    times = score_tables.times_to_target(results, in_seconds=in_seconds)
    shares = scores.performance_profile(times, taus)
    unit = "seconds" if in_seconds else "steps"
    with matplotlib.rc_context(STYLE):
        figure, axes = panel(f"factor over the fastest, in {unit}", "share of tasks")
        for stroke, share in reversed(list(zip(strokes(results).values(), shares, strict=True))):
            axes.plot(taus, share, **stroke.line, drawstyle="steps-post")
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlim(1.0, scores.MAX_TAU)
    rows = [
        (name, tau, share)
        for name, row in zip(results.optimizers, shares, strict=True)
        for tau, share in zip(taus[::4], row[::4], strict=True)
    ]
    title = f"Performance profiles in {unit}"
    return Drawing(f"profile-{unit}", title, figure, ("optimizer", "tau", "share_of_tasks"), rows)


def sorted_speed_ups(results: Results, rows: Sequence[Row], *, stretch: int) -> Drawing:
    """Each optimizer's speed-ups over the reference, sorted, as in VeLO's article (2211.09760).

    Every optimizer has its own order of the tasks, the greatest speed-up first. Speed-ups are clipped to the axis:
    infinite ones lie on the upper edge, runs that diverged on the lower one.
    """
    low, high = 1.0 / MAX_SLOWDOWN, 1.15 * max(stretch, 2)
    drawn = []
    with matplotlib.rc_context(STYLE):
        figure, axes = panel("tasks, each optimizer's fastest first", f"speed-up over tuned {label(results.reference)}")
        for name, stroke in reversed(strokes(results).items()):
            found = sorted((row for row in rows if row.optimizer == name), key=lambda row: -row.envelope_speed_up)
            values = np.array([row.envelope_speed_up for row in found])
            places = np.arange(1, len(found) + 1)
            axes.plot(places, np.clip(values, low, high), **stroke.line, marker="o", markersize=2)
            drawn += [
                (name, int(place), row.task, row.envelope_speed_up) for place, row in zip(places, found, strict=True)
            ]
        for level in (1.0, score_tables.FAST):
            axes.axhline(level, color="#9aa0a6", linewidth=0.8)
        axes.set_yscale("log", base=2)
        axes.set_ylim(0.94 * low, 1.06 * high)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}x")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    title = f"Speed-ups over tuned {results.reference}, sorted"
    return Drawing("speed-ups", title, figure, ("optimizer", "place", "task", "speed_up"), drawn)


def tuning_cost(results: Results) -> Drawing:
    """Final loss against the number of trials, on the tuning seeds: the median best of n trials (`scores.best_of`).

    An optimizer that has nothing to tune is a horizontal line. Losses are geometric means over tasks, in units of the
    loss of the reference's best trial.
    """
    rows = []
    with matplotlib.rc_context(STYLE):
        figure, axes = panel("trials", f"final loss / best of all {label(results.reference)}'s trials")
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
    """[trials] values of `tuning_cost` for one optimizer; None if the ratio to the reference's best is undefined."""
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
    """Meta-loss against outer steps as a faint line, and its running mean."""
    with matplotlib.rc_context(STYLE):
        figure, axes = panel("outer step", "meta-loss")
        steps, losses = np.array([step for step, _ in points]), np.array([loss for _, loss in points], np.float64)
        axes.plot(steps, losses, color=LEARNED_COLORS[0], alpha=0.35, linewidth=1)
        finite = np.isfinite(losses)
        if finite.any():
            axes.plot(steps[finite], running_mean(losses[finite]), color=LEARNED_COLORS[0], linewidth=2)
    return Drawing("meta-loss", "Meta-loss during meta-training", figure, ("outer_step", "meta_loss"), list(points))


def sensitivity(results: Results, task: str) -> Drawing:
    """Final training loss on the tuning seeds against the learning rate.

    An optimizer without a learning rate, or without tuning, is a horizontal line.
    """
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
    """Each tensor's relative step size over the first reported run; None if none were recorded."""
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
    """Mean over a centred window of a tenth of the points."""
    half = max(1, len(values) // 20)
    sums = np.concatenate([np.zeros(1), np.cumsum(values)])
    index = np.arange(len(values))
    low, high = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)
