"""The benchmark's figures: improvements as a heat map, ranks over problems, several untuned against one tuned."""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from evaluation.report.charts import Series, chart
from evaluation.report.drawing import BASELINE_COLORS, LEARNED_COLORS, REFERENCE_COLOR, Drawing
from evaluation.report.heat_map import heat_map
from evaluation.studies.crowded_valley import scores
from evaluation.studies.crowded_valley.criteria import median_improvements
from evaluation.studies.crowded_valley.problems import PROBLEMS
from evaluation.studies.crowded_valley.search import UNTUNED, VELO, Found

LIMIT = 50.0
"""Improvement in per cent from which the colours of a heat map no longer change."""


def improvement_map(found: dict[str, Found], optimizers: Sequence[str], schedule: str, budget: int) -> Drawing:
    """Heat map of the median improvements in per cent."""
    return heat_map(
        f"improvements-{schedule}",
        f"Schedule {schedule}: improvement of the best of {budget} draws over untuned, %",
        "tuned", "untuned", optimizers, optimizers,
        100.0 * median_improvements(found, optimizers, schedule, budget), limit=LIMIT,
    )  # fmt: skip


def rank_charts(found: dict[str, Found], optimizers: Sequence[str], schedule: str, budget: int) -> Iterator[Drawing]:
    """Two charts of the ranks over the problems, of untuned and of tuned optimizers, each with VeLO."""
    problems = [PROBLEMS[name].number for name in found]
    places = np.arange(len(problems), dtype=float)
    for size, words in ((UNTUNED, "untuned"), (budget, f"best of {budget} draws")):
        metrics = np.array(
            [
                [np.median(one.velo), *(one.typical(name, schedule, size) for name in optimizers)]
                for one in found.values()
            ]
        )
        ranked = scores.ranks(metrics).T
        series = [Series(VELO, places, ranked[0], color=LEARNED_COLORS[0], width=2.5)]
        for index, (name, row) in enumerate(zip(optimizers, ranked[1:], strict=True)):
            color, style = BASELINE_COLORS[index % len(BASELINE_COLORS)], "solid"
            if index >= len(BASELINE_COLORS):
                style = "dashed"
            series.append(Series(name, places, row, color=color, style=style, width=1.2))
        drawing = chart(f"ranks-{size}", f"Ranks, {words}", "problem", "rank, 1 is the best", series, log="")
        axes = drawing.figure.axes[0]
        axes.invert_yaxis()
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xticks(places, problems)
        yield drawing


def several_untuned(found: dict[str, Found], optimizers: Sequence[str], schedule: str, budget: int) -> Drawing:
    """The best of several untuned optimizers against their number, in comparison with one tuned optimizer."""
    counts = np.arange(1, len(optimizers) + 1)
    several, tuned, velo = [], [], []
    for one in found.values():
        untuned = np.array([one.typical(name, schedule, UNTUNED) for name in optimizers])
        best = np.array([one.typical(name, schedule, budget) for name in optimizers])
        least = min(untuned.min(), best.min(), np.median(one.velo))
        several.append([scores.expected_best(untuned, int(count)) / least for count in counts])
        tuned.append(best / least)
        velo.append(np.median(one.velo) / least)
    low, middle, high = np.quantile(np.median(tuned, axis=0), [0.25, 0.5, 0.75])
    flat = np.ones(len(counts))
    drawing = chart(
        "several", f"Several untuned, or one at the best of {budget} draws", "number of untuned optimizers tried",
        "metric / least of the problem",
        [
            Series("best of several untuned", counts, np.median(several, axis=0), color=REFERENCE_COLOR),
            Series("one tuned: median, quartiles", counts, middle * flat, low * flat, high * flat,
                   color=BASELINE_COLORS[0], style="dashed"),
            Series("VeLO, untuned", counts, float(np.median(velo)) * flat, color=LEARNED_COLORS[0], style="dotted"),
        ],
        log="y",
    )  # fmt: skip
    drawing.figure.axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    return drawing
