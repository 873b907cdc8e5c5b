"""Charts of named series, each with its own legend, so that a chart can be read without the text around it."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from evaluation.report.drawing import BASELINE_COLORS, STYLE, Drawing, panel

INCHES = (4.6, 3.4)
LEGEND_ROWS = 4
"""A legend with more entries is placed below the axes."""
LONG_LABEL = 12
"""Label length in characters from which such a legend has two columns instead of four."""
ROW_INCHES = 0.18
LEGEND_STYLE: Any = {"frameon": False, "fontsize": 8, "title_fontsize": 8}
COLUMNS = ("series", "x", "y", "low", "high")
FEW_TICKS = 30
"""A logarithmic axis that spans less than this factor has labels between the powers of ten."""
MAX_LINEAR = 5
"""A logarithmic axis that spans at most this factor has evenly spaced labels."""


@dataclasses.dataclass(frozen=True, eq=False)
class Series:
    """One line or one set of points; points that aren't finite are left out."""

    label: str
    """Label in the legend; a series with an empty label is left out of the legend."""
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    """Lower end of a band around `y`; None for no band."""
    high: np.ndarray | None = None
    color: str = ""
    """Colour of the series; the next of the report's colours if empty."""
    style: str = "solid"
    """solid, dashed, dotted, or points."""
    width: float = 1.5

    def __post_init__(self):
        if self.style not in ("solid", "dashed", "dotted", "points"):
            raise ValueError(f"Series: style must be solid, dashed, dotted or points, got {self.style!r}")
        if np.shape(self.x) != np.shape(self.y) or np.ndim(self.x) != 1:
            raise ValueError(
                f"Series: x and y must be vectors of one length, got {np.shape(self.x)}, {np.shape(self.y)}"
            )


def chart(
    name: str,
    title: str,
    x_label: str,
    y_label: str,
    series: Sequence[Series],
    *,
    legend: str = "",
    log: str = "xy",
    y_limits: tuple[float, float] | None = None,
) -> Drawing:
    """All series in one pair of axes.

    Args:
        name: name of the chart's files.
        legend: title of the legend.
        log: the axes with a logarithmic scale: "", "x", "y" or "xy".
        y_limits: limits of the vertical axis; by default those of the data.
    """
    if log not in ("", "x", "y", "xy"):
        raise ValueError(f"chart: log must be '', 'x', 'y' or 'xy', got {log!r}")
    rows: list[tuple] = []
    colors = itertools.cycle(BASELINE_COLORS)
    with matplotlib.rc_context(STYLE):
        figure, axes = panel(x_label, y_label, INCHES)
        axes.set_xscale("log" if "x" in log else "linear")
        axes.set_yscale("log" if "y" in log else "linear")
        for one in series:
            rows += _draw(axes, one, one.color or next(colors))
        if y_limits is not None:
            axes.set_ylim(*y_limits)
        for axis, letter in ((axes.xaxis, "x"), (axes.yaxis, "y")):
            if letter in log:
                _label_logarithmic(axis)
        labels = [one.label for one in series if one.label]
        if len(labels) > LEGEND_ROWS:
            columns = 2 if max(map(len, labels)) >= LONG_LABEL else 4
            figure.legend(loc="outside lower center", title=legend or None, ncols=columns, **LEGEND_STYLE)
            figure.set_figheight(INCHES[1] + ROW_INCHES * (-(-len(labels) // columns) + bool(legend)))
        elif len(labels) > 1:
            axes.legend(title=legend or None, **LEGEND_STYLE)
    return Drawing(name, title, figure, COLUMNS, rows)


def _draw(axes: Axes, series: Series, color: str) -> list[tuple]:
    """Draws one series; returns it as rows of `COLUMNS`."""
    x, y = np.asarray(series.x, float), np.asarray(series.y, float)
    finite = np.isfinite(x) & np.isfinite(y)
    style: dict[str, Any] = {"color": color, "label": series.label or None}
    if series.style == "points":
        axes.plot(x[finite], y[finite], linestyle="none", marker="o", markersize=4, **style)
    else:
        marker = "o" if series.style == "solid" and finite.sum() <= 20 else None
        axes.plot(
            x[finite], y[finite], linestyle=series.style, linewidth=series.width, marker=marker, markersize=3.5, **style
        )
    low = np.full(len(x), np.nan) if series.low is None else np.asarray(series.low, float)
    high = np.full(len(x), np.nan) if series.high is None else np.asarray(series.high, float)
    banded = finite & np.isfinite(low) & np.isfinite(high)
    if banded.any():
        axes.fill_between(x[banded], low[banded], high[banded], color=color, alpha=0.12, linewidth=0)
    return [(series.label, *row) for row in zip(x, y, low, high, strict=True)]


def _label_logarithmic(axis: Any) -> None:
    """Adds labels between the powers of ten if the axis spans only a few of them."""
    low, high = axis.get_view_interval()
    if low > 0 and high / low < FEW_TICKS:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)) if high / low > MAX_LINEAR else MaxNLocator(5))
        axis.set_major_formatter(lambda value, _: f"{value:.3g}" if value < 1000 else f"{value:,.0f}")
    axis.set_minor_formatter(NullFormatter())
