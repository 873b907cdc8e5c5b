"""The figures and the table of losses of the study of DoG."""

import numpy as np

from evaluation.report.charts import Series, chart
from evaluation.report.drawing import BASELINE_COLORS, LEARNED_COLORS, REFERENCE_COLOR, Drawing
from evaluation.studies.dog_tasks import FREE, REFERENCE, TUNED, Losses
from evaluation.studies.study import Table


def losses_drawing(losses: dict[str, Losses]) -> Drawing:
    """Validation losses relative to averaged DoG's: one point per optimizer and task."""
    places = np.arange(len(losses), dtype=float)
    series = []
    for index, (label, get) in enumerate(
        {
            "SGD, tuned, cosine": lambda found: found.best("sgd_cosine"),
            "SGD momentum, tuned, cosine": lambda found: found.best("sgd_momentum_cosine"),
            "Adam, tuned, cosine": lambda found: found.best("adam_cosine"),
            "SGD, tuned, averaged": lambda found: found.best("sgd", 1),
            "DoG, last iterate": lambda found: found.free["dog"][0],
            "L-DoG, averaged": lambda found: found.free["ldog"][1],
        }.items()
    ):
        ratios = [get(found).mean() / found.free["dog"][1].mean() for found in losses.values()]
        color = (*BASELINE_COLORS, *LEARNED_COLORS)[index]
        series.append(Series(label, places, np.array(ratios), style="points", color=color))
    series.append(Series("DoG, averaged", places, np.ones(len(losses)), color=REFERENCE_COLOR, style="dashed"))
    title = "Validation loss over that of averaged DoG"
    drawing = chart("losses", title, "", "validation loss / averaged DoG's", series, log="y")
    axes = drawing.figure.axes[0]
    axes.set_xticks(places, list(losses), rotation=30, ha="right")
    return drawing


def sweep_drawing(name: str, reps: np.ndarray, found: dict[str, np.ndarray]) -> Drawing:
    """Validation losses over the first distance estimates."""
    series = [
        Series(
            label, reps, found[point].mean(axis=1), found[point].min(axis=1), found[point].max(axis=1),
            color=color,
        )
        for label, point, color in (
            ("DoG, averaged", "average", REFERENCE_COLOR), ("DoG, last iterate", "last", BASELINE_COLORS[0]),
        )
    ]  # fmt: skip
    title = f"{name}: validation loss over DoG's first distance estimate"
    return chart(f"reps-{name}", title, "first distance estimate over 1 + |x_0|", "validation loss", series)


def steps_drawing(name: str, reps: np.ndarray, found: dict[str, np.ndarray]) -> Drawing:
    """Step sizes over a run, from each first distance estimate."""
    steps = np.arange(1, found["step_sizes"].shape[-1] + 1, dtype=float)
    series = [
        Series(f"{first:.0e}", steps, np.median(sizes, axis=0), width=1.2)
        for first, sizes in zip(reps, found["step_sizes"], strict=True)
    ]
    title = f"{name}: DoG's step size from each first distance estimate"
    return chart(f"steps-{name}", title, "step", "step size", series, legend="first estimate")


def losses_table(losses: dict[str, Losses], rates: np.ndarray) -> Table:
    """Mean validation losses of all optimizers on all tasks, at the last iterate and averaged."""
    columns = (
        "task", *(f"{name}{end}" for name in FREE for end in ("", ", averaged")),
        *(f"{name}{end}" for name in TUNED for end in ("", ", averaged")), "rate of sgd_cosine",
    )  # fmt: skip
    rows = []
    for task, found in losses.items():
        values = [found.free[name][point].mean() for name in FREE for point in (0, 1)]
        values += [found.best(name, point).mean() for name in TUNED for point in (0, 1)]
        rate = rates[int(np.argmin(found.tuned[REFERENCE][0].mean(axis=1)))]
        rows.append((task, *(f"{value:.4g}" for value in values), f"{rate:.2g}"))
    return Table("losses", "Mean validation losses", columns, tuple(rows))
